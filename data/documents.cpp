#include "data/documents.h"

#include <algorithm>
#include <filesystem>
#include <optional>
#include <regex>
#include <set>

#include "base/error.h"
#include "data/byte_stream.h"
#include "data/json_strings.h"

namespace braid {

namespace {

namespace fs = std::filesystem;

constexpr size_t kDocumentStartBytes = 512;

bool has_suffix(std::string_view text, std::string_view suffix) {
    return text.ends_with(suffix);
}

bool is_jsonl(std::string_view path) {
    for (const std::string_view suffix : {".gz", ".zst"})
        if (has_suffix(path, suffix)) path.remove_suffix(suffix.size());
    return has_suffix(path, ".jsonl") || has_suffix(path, ".ndjson");
}

void add_folder(const fs::path& folder, std::vector<std::string>* files) {
    std::error_code error;
    fs::directory_iterator entries(folder, error);
    if (error) throw DataError("{}: cannot list the folder: {}", folder.string(), error.message());
    for (const fs::directory_entry& entry : entries) {
        const std::string path = entry.path().string();
        if (entry.path().filename().string().starts_with('.')) continue;
        if (entry.is_directory(error)) {
            if (entry.is_symlink(error))
                throw DataError("{}: a symbolic link to a folder; name the folder as an input of its own",
                                path);
            add_folder(entry.path(), files);
        } else if (entry.is_regular_file(error)) {
            files->push_back(path);
        } else {
            throw DataError("{}: expected a file or folder, found something else", path);
        }
    }
}

void read_jsonl(const std::string& path, const DocumentOptions& options,
                const std::function<void(std::string_view)>& sink) {
    LineReader lines(path, options.max_document_bytes);
    std::string line;
    while (lines.next(&line)) {
        if (line.find_first_not_of(" \t\r\n") == std::string::npos) continue;
        const JsonStrings found = read_json_strings(line, {options.text_field});
        if (!found.problem.empty())
            throw DataError("{}: line {}: {}", path, lines.line_number(), found.problem);
        sink(found.values[0]);
    }
}

void read_split_text(const std::string& path, const DocumentOptions& options,
                     const std::function<void(std::string_view)>& sink) {
    std::optional<std::regex> start;
    try {
        start.emplace(options.document_start, std::regex::ECMAScript | std::regex::optimize);
    } catch (const std::regex_error& error) {
        throw ConfigError("document start '{}': not a regular expression: {}", options.document_start,
                          error.what());
    }
    LineReader lines(path, options.max_document_bytes);
    std::string line, document;
    while (lines.next(&line)) {
        // The part of a line that is matched is short, as std::regex recurses once per character.
        const auto end =
            line.begin() + static_cast<std::ptrdiff_t>(std::min(line.size(), kDocumentStartBytes));
        if (!document.empty() &&
            std::regex_search(line.begin(), end, *start, std::regex_constants::match_continuous)) {
            sink(document);
            document.clear();
        }
        document += line;
        if (static_cast<int64_t>(document.size()) > options.max_document_bytes)
            throw DataError("{}: the document that ends at line {} has more than {} bytes", path,
                            lines.line_number(), options.max_document_bytes);
    }
    if (!document.empty()) sink(document);
}

void read_text(const std::string& path, const DocumentOptions& options,
               const std::function<void(std::string_view)>& sink) {
    const auto stream = ByteStream::open(path);
    std::string document;
    std::vector<char> piece(1 << 18);
    while (const size_t count = stream->read(piece.data(), piece.size())) {
        document.append(piece.data(), count);
        if (static_cast<int64_t>(document.size()) > options.max_document_bytes)
            throw DataError("{}: one document of more than {} bytes; split it with --document-start", path,
                            options.max_document_bytes);
    }
    sink(document);
}

} // namespace

std::vector<std::string> list_input_files(const std::vector<std::string>& inputs) {
    std::vector<std::string> files;
    if (std::count(inputs.begin(), inputs.end(), "-") > 1)
        throw DataError("standard input ('-') is named twice");
    for (const std::string& input : inputs) {
        std::error_code error;
        if (input == "-" || !fs::is_directory(input, error)) {
            files.push_back(input);
            continue;
        }
        std::vector<std::string> inside;
        add_folder(input, &inside);
        if (inside.empty()) throw DataError("{}: the folder holds no files", input);
        std::sort(inside.begin(), inside.end());
        files.insert(files.end(), inside.begin(), inside.end());
    }
    return files;
}

void read_documents(const std::string& path, const DocumentOptions& options,
                    const std::function<void(std::string_view text)>& sink) {
    const bool jsonl =
        options.format == InputFormat::jsonl || (options.format == InputFormat::automatic && is_jsonl(path));
    if (jsonl)
        read_jsonl(path, options, sink);
    else if (!options.document_start.empty())
        read_split_text(path, options, sink);
    else
        read_text(path, options, sink);
}

} // namespace braid

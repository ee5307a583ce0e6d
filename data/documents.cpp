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

bool named_as_json(std::string_view path) {
    for (const std::string_view suffix : {".gz", ".zst"})
        if (path.ends_with(suffix)) path.remove_suffix(suffix.size());
    return path.ends_with(".jsonl") || path.ends_with(".ndjson") || path.ends_with(".json");
}

/// {" or [{" with any spaces and line ends between, behind a byte order mark or not.
bool starts_as_json(std::string_view text) {
    if (text.starts_with("\xef\xbb\xbf")) text.remove_prefix(3);
    std::string start;
    for (const char c : text) {
        if (std::string_view(" \t\r\n").find(c) == std::string_view::npos) start += c;
        if (start.size() == 3) break;
    }
    return start.starts_with("{\"") || start == "[{\"";
}

/// Standard input has no name to tell by, so its first bytes do; JSON would be trained on as text. A way to
/// split text says that it is text.
bool holds_json_lines(const std::string& path, const ByteStream& stream, const DocumentOptions& options) {
    if (options.format != InputFormat::automatic) return options.format == InputFormat::jsonl;
    if (path != "-") return named_as_json(path);
    return options.document_start.empty() && starts_as_json(stream.first_bytes());
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

/// Whether an object is meant as a pair, for what is said of its faults.
bool names_completion(std::string_view line) {
    return line.find("\"completion\"") != std::string_view::npos;
}

void read_jsonl(std::unique_ptr<ByteStream> stream, const std::string& path, const DocumentOptions& options,
                const DocumentSink& sink) {
    LineReader lines(std::move(stream), path, options.max_document_bytes);
    std::string line;
    while (lines.next(&line)) {
        if (line.find_first_not_of(" \t\r\n") == std::string::npos) continue;
        const JsonStrings found = read_json_strings(line, {options.text_field});
        if (found.problem.empty()) {
            sink({found.values[0]});
            continue;
        }
        const JsonStrings pair = read_json_strings(line, {"prompt", "completion"}, {options.text_field});
        if (pair.problem.empty() && !pair.values[1].empty()) {
            sink({pair.values[1], pair.values[0]});
            continue;
        }
        const std::string problem = pair.problem.empty() ? "'completion': expected a text, found an empty one"
                                    : names_completion(line) ? pair.problem
                                                             : found.problem;
        throw DataError("{}: line {}: {}{}", input_name(path), lines.line_number(), problem,
                        options.format == InputFormat::automatic
                            ? "; JSON is read as one object per line (--format text takes it as text)"
                            : "");
    }
}

void read_split_text(std::unique_ptr<ByteStream> stream, const std::string& path,
                     const DocumentOptions& options, const DocumentSink& sink) {
    std::optional<std::regex> start;
    try {
        start.emplace(options.document_start, std::regex::ECMAScript | std::regex::optimize);
    } catch (const std::regex_error& error) {
        throw ConfigError("document start '{}': not a regular expression: {}", options.document_start,
                          error.what());
    }
    LineReader lines(std::move(stream), path, options.max_document_bytes);
    std::string line, document;
    while (lines.next(&line)) {
        // The part of a line that is matched is short, as std::regex recurses once per character.
        const auto end =
            line.begin() + static_cast<std::ptrdiff_t>(std::min(line.size(), kDocumentStartBytes));
        if (!document.empty() &&
            std::regex_search(line.begin(), end, *start, std::regex_constants::match_continuous)) {
            sink({document});
            document.clear();
        }
        document += line;
        if (static_cast<int64_t>(document.size()) > options.max_document_bytes)
            throw DataError("{}: the document that ends at line {} has more than {} bytes", input_name(path),
                            lines.line_number(), options.max_document_bytes);
    }
    if (!document.empty()) sink({document});
}

void read_text(std::unique_ptr<ByteStream> stream, const std::string& path, const DocumentOptions& options,
               const DocumentSink& sink) {
    std::string document;
    std::vector<char> block(1 << 18);
    while (const size_t count = stream->read(block.data(), block.size())) {
        document.append(block.data(), count);
        if (static_cast<int64_t>(document.size()) > options.max_document_bytes)
            throw DataError("{}: one document of more than {} bytes; split it with --document-start",
                            input_name(path), options.max_document_bytes);
    }
    sink({document});
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

void read_documents(const std::string& path, const DocumentOptions& options, const DocumentSink& sink) {
    auto stream = ByteStream::open(path);
    if (holds_json_lines(path, *stream, options))
        read_jsonl(std::move(stream), path, options, sink);
    else if (!options.document_start.empty())
        read_split_text(std::move(stream), path, options, sink);
    else
        read_text(std::move(stream), path, options, sink);
}

} // namespace braid

#include "data/documents.h"

#include <algorithm>
#include <filesystem>
#include <optional>
#include <regex>
#include <set>

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "data/byte_stream.h"

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

/// Keeps the one string this project wants from an object, and never builds the rest.
class TextField : public nlohmann::json_sax<nlohmann::json> {
  public:
    explicit TextField(const std::string& field) : field_(field) {}

    const std::optional<std::string>& text() const { return text_; }
    const std::string& problem() const { return problem_; }

    bool null() override { return scalar("null"); }
    bool boolean(bool) override { return scalar("a boolean"); }
    bool number_integer(number_integer_t) override { return scalar("a number"); }
    bool number_unsigned(number_unsigned_t) override { return scalar("a number"); }
    bool number_float(number_float_t, const string_t&) override { return scalar("a number"); }
    bool binary(binary_t&) override { return scalar("binary data"); }
    bool string(string_t& value) override {
        if (depth_ == 0) return scalar("a string");
        if (!wanted_) return true;
        text_ = std::move(value);
        wanted_ = false;
        return true;
    }
    bool start_object(std::size_t) override { return open("an object"); }
    bool start_array(std::size_t) override { return depth_ == 0 ? scalar("a list") : open("a list"); }
    bool end_object() override { return close(); }
    bool end_array() override { return close(); }
    bool key(string_t& name) override {
        wanted_ = depth_ == 1 && name == field_;
        if (wanted_ && text_) return fail(fmt::format("the key '{}' appears twice", field_));
        return true;
    }
    bool parse_error(std::size_t position, const std::string&,
                     const nlohmann::detail::exception& error) override {
        const std::string_view what =
            error.what(); // "[json.exception.parse_error.101] parse error at …: the reason"
        const size_t bracket = what.find("] ");
        return fail(fmt::format("not valid JSON at byte {}: {}", position,
                                what.substr(bracket == std::string_view::npos ? 0 : bracket + 2)));
    }

  private:
    bool open(const char* kind) {
        if (wanted_) return scalar(kind);
        ++depth_;
        return true;
    }
    bool close() {
        --depth_;
        return true;
    }
    bool scalar(const char* kind) {
        if (depth_ == 0) return fail(fmt::format("expected a JSON object, found {}", kind));
        return wanted_ ? fail(fmt::format("'{}': expected a string, found {}", field_, kind)) : true;
    }
    bool fail(const std::string& problem) {
        problem_ = problem;
        return false;
    }

    const std::string& field_;
    std::optional<std::string> text_;
    std::string problem_;
    int depth_ = 0;
    bool wanted_ = false;
};

void read_jsonl(const std::string& path, const DocumentOptions& options,
                const std::function<void(std::string_view)>& sink) {
    LineReader lines(path, options.max_document_bytes);
    std::string line;
    while (lines.next(&line)) {
        if (line.find_first_not_of(" \t\r\n") == std::string::npos) continue;
        TextField field(options.text_field);
        const bool valid = nlohmann::json::sax_parse(line, &field);
        if (!valid) throw DataError("{}: line {}: {}", path, lines.line_number(), field.problem());
        if (!field.text())
            throw DataError("{}: line {}: expected the key '{}', found none", path, lines.line_number(),
                            options.text_field);
        sink(*field.text());
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

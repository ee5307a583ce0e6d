#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace braid {

enum class InputFormat {
    // JSON lines if the name, without .gz or .zst, ends in .jsonl, .ndjson or .json, and of standard input
    // if it starts as JSON does; else text
    automatic,
    text,
    jsonl,
};

/// How inputs become documents.
struct DocumentOptions {
    InputFormat format = InputFormat::automatic;
    /// JSON lines: the key of the object on each line that holds the text. An object without it may have the
    /// keys prompt and completion instead.
    std::string text_field = "text";
    /// Text: a line at whose start this ECMAScript expression matches (in its first 512 bytes) starts a new
    /// document. Empty: the whole input is one document.
    std::string document_start{};
    /// A longer document, or line of JSON, is refused: it would have to fit in memory.
    int64_t max_document_bytes = int64_t{1} << 30;
};

/// Every input in the order given, folders replaced by the files in them: recursively, sorted by path as
/// bytes, without names that start with a dot. "-" is standard input. An input that does not exist, a folder
/// without files, anything but files and folders, and a symbolic link to a folder inside a folder are
/// DataErrors.
std::vector<std::string> list_input_files(const std::vector<std::string>& inputs);

/// A document as it came. What stands in `prompt` comes first, is read, and counts as no label.
struct SourceDocument {
    std::string_view text, prompt = {};
};
using DocumentSink = std::function<void(const SourceDocument&)>;

/// Calls `sink` with each document of a file, in order; its text is valid during the call. Faults
/// of the input are DataErrors naming file and line. A document_start that is no expression is a ConfigError.
void read_documents(const std::string& path, const DocumentOptions& options, const DocumentSink& sink);

} // namespace braid

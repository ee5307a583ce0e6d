#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>

namespace braid {

/// Bytes read in order from a file or standard input ("-"), decompressed on the way if they start as gzip or
/// Zstandard do. Memory is bounded whatever the input says: a stream that expands more than
/// kMaxExpansion-fold, needs a Zstandard window above 128 MiB, is cut, or has bytes after its end is a
/// DataError naming the input.
class ByteStream {
  public:
    /// Beyond the first kFreeBytes of output; text compresses 3- to 30-fold.
    static constexpr int64_t kMaxExpansion = 1000;
    static constexpr int64_t kFreeBytes = 16 << 20;

    static std::unique_ptr<ByteStream> open(const std::string& path);
    virtual ~ByteStream() = default;

    /// The first bytes, at most 512, that read() gives or gave.
    virtual std::string_view first_bytes() const = 0;
    /// Reads at least one byte and at most `size` into `out`; 0 at the end.
    virtual size_t read(char* out, size_t size) = 0;
};

/// An input as messages call it: "-" is standard input.
std::string input_name(const std::string& path);

/// Takes a ByteStream apart at line ends.
class LineReader {
  public:
    LineReader(const std::string& path, int64_t max_line_bytes);
    LineReader(std::unique_ptr<ByteStream> stream, const std::string& path, int64_t max_line_bytes);

    /// Reads the next line, with its '\n' where it has one, which only the last line may lack. False at the
    /// end. A line of more than max_line_bytes is a DataError.
    bool next(std::string* line);
    /// The number of the line next() returned last; the first is 1.
    int64_t line_number() const { return line_number_; }

  private:
    std::string path_;
    int64_t max_line_bytes_;
    std::unique_ptr<ByteStream> stream_;
    std::string buffer_;
    size_t begin_ = 0;
    int64_t line_number_ = 0;
};

} // namespace braid

#pragma once

#include <functional>
#include <string>
#include <string_view>

namespace braid::report {

/// Calls `number` for each number or null (a NaN) of a JSON object on one line, and `text` for each string
/// without escapes; what lies in inner lists and objects is passed over. Made for files of gigabytes: false,
/// possibly after some calls, where the line is anything but what Braid writes, without saying what.
bool scan_json_line(std::string_view line,
                    const std::function<void(std::string_view key, double value)>& number,
                    const std::function<void(std::string_view key, std::string_view value)>& text);

/// Reads what was added to a file of lines since the last call.
class LineReader {
  public:
    explicit LineReader(std::string path) : path_(std::move(path)) {}

    /// Calls `line` with each whole line and its number from 1; a last one without an end waits for the next
    /// call. False where the file was cut or replaced since, as by a start that goes on from an earlier step:
    /// nothing is read, and the next call begins anew. A file that is not there has no lines. DataError where
    /// it cannot be read.
    bool read(const std::function<void(std::string_view line, int64_t number)>& line);
    /// Whether the file ends in the middle of a line.
    bool torn() const { return torn_; }
    const std::string& path() const { return path_; }

  private:
    std::string path_;
    int64_t offset_ = 0, number_ = 0;
    uint64_t inode_ = 0;
    bool torn_ = false;
};

} // namespace braid::report

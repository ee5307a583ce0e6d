#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/file_descriptor.h"

namespace braid {

/// What cutting a file of metrics back did to its lines.
struct CutBack {
    int64_t kept = 0;
    int64_t superseded = 0; // of later steps
    int64_t unreadable = 0; // torn by a crash, or without an integer "step"
    bool operator==(const CutBack&) const = default;
};

/// Keeps the lines of a JSON-lines file whose "step" is at most `last_step`, in their order, reading line by
/// line and replacing the file at once; a file that needs no change, or does not exist, is left alone. Those
/// of later steps are the new file `later` before they leave this one; where there are none it is not made.
/// Throws DataError for a line of more than 16 MiB or a file that is no regular file, WriteError where
/// writing fails.
CutBack cut_back_lines(const std::string& path, int64_t last_step, const std::string& later);

/// A file that only grows, by whole lines: each is one write, so a crash leaves at most the last one torn.
class LineFile {
  public:
    /// Creates the file or goes on at its end; WriteError if that fails or it is no regular file.
    explicit LineFile(std::string path);

    /// `line` comes without its newline and holds none.
    void append(std::string_view line);
    /// Makes the lines survive a power loss.
    void sync();
    const std::string& path() const { return path_; }

  private:
    std::string path_, buffer_;
    FileDescriptor file_;
};

} // namespace braid

#pragma once

#include <string>
#include <string_view>

#include "base/error.h"

namespace braid {

/// Standard output cannot be written, for the reason that errno told.
class OutputError : public Error {
  public:
    explicit OutputError(int reason);
    /// Its reader has gone, which is no fault to speak of: `braid config keys | head`.
    bool reader_has_gone() const;

  private:
    int reason_;
};

/// Writes a command's result to standard output; OutputError where that fails (a full disk, a closed pipe).
void print_output(const std::string& text);

/// Writes what a command says beside its work, whose result lies in files: nothing happens where that fails.
void print_notice(std::string_view text);

/// "braid: what" to stderr; nothing happens where that fails.
void print_error(std::string_view what);

/// `text` to stderr without its lock, which a stuck thread may hold.
void write_error_at_once(std::string_view text);

/// The one message of an output that cannot be written, and its exit code.
ExitCode report_output_failure(const OutputError& error);

/// The exit code of a command that ended with `code`: another where what it wrote to standard output without
/// print_output or print_notice did not get there.
ExitCode finish_output(ExitCode code);

} // namespace braid

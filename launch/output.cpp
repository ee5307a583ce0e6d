#include "launch/output.h"

#include <poll.h>
#include <stdio_ext.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>

namespace braid {
namespace {

/// Whether all of it was written; the stream is good afterwards, so that a failure is not told twice.
bool write_now(std::FILE* stream, std::string_view text) {
    // Of a stream that flushes at each line, as a terminal's, glibc may say that all was taken and nothing is
    // left to flush after a write that failed; its error flag alone tells.
    const bool written = std::fwrite(text.data(), 1, text.size(), stream) == text.size() &&
                         std::fflush(stream) == 0 && std::ferror(stream) == 0;
    if (!written) {
        const int reason = errno;
        __fpurge(stream);
        std::clearerr(stream);
        errno = reason;
    }
    return written;
}

/// Why an earlier write failed, as far as it can be told now.
int reason_of_earlier_failure() {
    pollfd output = {.fd = STDOUT_FILENO, .events = POLLOUT, .revents = 0};
    return ::poll(&output, 1, 0) == 1 && (output.revents & POLLERR) ? EPIPE : 0;
}

} // namespace

OutputError::OutputError(int reason)
    : Error(ExitCode::cannot_write, fmt::format("standard output: cannot write{}{}", reason ? ": " : "",
                                                reason ? std::strerror(reason) : "")),
      reason_(reason) {}

bool OutputError::reader_has_gone() const {
    return reason_ == EPIPE;
}

void print_output(const std::string& text) {
    if (!write_now(stdout, text)) throw OutputError(errno);
}

void print_notice(std::string_view text) {
    write_now(stdout, text);
}

void print_error(std::string_view what) {
    write_now(stderr, fmt::format("braid: {}\n", what));
}

void write_error_at_once(std::string_view text) {
    while (!text.empty()) {
        const ssize_t count = ::write(STDERR_FILENO, text.data(), text.size());
        if (count <= 0) return;
        text.remove_prefix(static_cast<size_t>(count));
    }
}

ExitCode report_output_failure(const OutputError& error) {
    if (!error.reader_has_gone()) print_error(error.what());
    return error.exit_code();
}

ExitCode finish_output(ExitCode code) {
    errno = 0;
    const bool failed_before = std::ferror(stdout) != 0;
    if (std::fflush(stdout) == 0 && !failed_before) return code;
    const ExitCode failure = report_output_failure(OutputError(errno ? errno : reason_of_earlier_failure()));
    __fpurge(stdout); // nor is it tried again at the end of the process
    return code == ExitCode::ok ? failure : code;
}

} // namespace braid

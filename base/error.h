#pragma once

#include <fmt/core.h>

#include <stdexcept>
#include <string>
#include <utility>

namespace braid {

/// What the process returns; docs/launch.md tells users what each one means.
enum class ExitCode : int {
    ok = 0,
    internal = 1,          // a defect of ours, or a comparison that found a difference
    usage = 2,             // command line, config, or a plan that does not fit
    data = 3,              // a data file is missing, cut, or holds a bad token
    checkpoint = 4,        // a checkpoint was refused
    non_finite = 5,        // a loss or gradient is not finite, training diverged, or experts are overloaded
    communication = 6,     // a collective failed or hung
    cannot_write = 7,      // disk full, no permission, or the run folder is in use
    replicas_disagree = 8, // ranks that must hold the same numbers do not
    stopped = 75,          // stopped by a signal after saving: run again to go on
};

/// The base of every error that reaches the user. The message names the file or key, what was expected and
/// what was found. Below launch/ nobody prints or exits: errors travel as exceptions and main maps them to an
/// exit code.
class Error : public std::runtime_error {
  public:
    Error(ExitCode code, const std::string& message) : std::runtime_error(message), code_(code) {}
    ExitCode exit_code() const { return code_; }

  private:
    ExitCode code_;
};

/// A kind of error with a fixed exit code, made from a format string: throw ConfigError("{}: expected {}",
/// key, what).
template <ExitCode kCode>
class ErrorOf : public Error {
  public:
    template <typename... Args>
    explicit ErrorOf(fmt::format_string<Args...> format, Args&&... args)
        : Error(kCode, fmt::format(format, std::forward<Args>(args)...)) {}
};

using InternalError = ErrorOf<ExitCode::internal>;
using ConfigError = ErrorOf<ExitCode::usage>;
using DataError = ErrorOf<ExitCode::data>;
using CheckpointError = ErrorOf<ExitCode::checkpoint>;
using NonFiniteError = ErrorOf<ExitCode::non_finite>;
using CommError = ErrorOf<ExitCode::communication>;
using WriteError = ErrorOf<ExitCode::cannot_write>;
using ReplicaError = ErrorOf<ExitCode::replicas_disagree>;

/// Throws the error type of `code`, for code whose caller says what kind of failure a bad file is.
[[noreturn]] inline void throw_error(ExitCode code, const std::string& message) {
    switch (code) {
        case ExitCode::usage:
            throw ConfigError("{}", message);
        case ExitCode::data:
            throw DataError("{}", message);
        case ExitCode::checkpoint:
            throw CheckpointError("{}", message);
        case ExitCode::non_finite:
            throw NonFiniteError("{}", message);
        case ExitCode::cannot_write:
            throw WriteError("{}", message);
        default:
            throw Error(code, message);
    }
}

/// States an invariant of the program. A failure is a defect of ours, never the user's input.
template <typename... Args>
void check(bool holds, fmt::format_string<Args...> format, Args&&... args) {
    if (!holds) [[unlikely]]
        throw InternalError(format, std::forward<Args>(args)...);
}

} // namespace braid

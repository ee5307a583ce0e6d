#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/error.h"

// What commands need of CLI11. Only command_line.cpp includes it: each file that does takes seconds more to
// compile.
namespace CLI {
class App;
class Option;
} // namespace CLI

namespace braid {

enum class InputFormat;

/// An option, flag or positional argument of a command. Copies stand for the same one.
class Option {
  public:
    explicit Option(CLI::Option* option) : option_(option) {}

    Option required() const;
    /// Takes values from min to max, both included; the help says so.
    Option range(int64_t min, int64_t max) const;
    Option range(double min, double max) const;
    Option non_negative() const;
    Option one_of(const std::vector<std::string>& values) const;
    /// Refused without `other`.
    Option needs(Option other) const;
    /// Refused together with `other`.
    Option excludes(Option other) const;
    /// Whether the command line holds it.
    bool given() const;
    /// The help shows what the target holds now.
    Option show_default() const;

  private:
    CLI::Option* option_;
};

/// A command or subcommand, to which options are added. Copies stand for the same one.
class Command {
  public:
    explicit Command(CLI::App& app) : app_(&app) {}

    Command subcommand(const std::string& name, const std::string& help) const;
    /// Exactly one subcommand must be named.
    void require_subcommand() const;

    // `names` is "-o,--output" or the like; without dashes it is the name of a positional argument. Parsing
    // writes to `target`, which must outlive it. Numbers are written as in run files: base 10, whole, without
    // anything after them.
    Option option(const std::string& names, std::string& target, const std::string& help = "") const;
    Option option(const std::string& names, int64_t& target, const std::string& help) const;
    Option option(const std::string& names, uint64_t& target, const std::string& help) const;
    Option option(const std::string& names, double& target, const std::string& help) const;
    Option option(const std::string& names, std::vector<std::string>& target, const std::string& help) const;
    /// Numbers in one word with commas between them.
    Option option(const std::string& names, std::vector<int32_t>& target, const std::string& help) const;
    /// Takes the spellings in `values`.
    Option option(const std::string& names, InputFormat& target, const std::string& help,
                  const std::map<std::string, InputFormat>& values) const;
    Option flag(const std::string& names, bool& target, const std::string& help) const;

    /// Shown below the help.
    void footer(const std::string& text) const;
    /// Called when the command line names this command and all of it is right. It may call refuse_missing.
    void callback(const std::function<void()>& called) const;

  private:
    CLI::App* app_;
};

/// Ends parsing with the message "WHAT is required".
[[noreturn]] void refuse_missing(const std::string& what);

/// The command line of a program that takes one command, --help and --version.
class CommandLine {
  public:
    CommandLine(const std::string& name, const std::string& help, const std::string& version);
    ~CommandLine();

    /// The program itself, to which commands are added.
    Command root() const;
    /// Calls the callback of the chosen command. Where there is nothing more to do, because help or version
    /// was asked for or the line is refused, that is printed and the exit code of the program returned.
    std::optional<ExitCode> parse(int argc, const char* const* argv) const;

  private:
    std::unique_ptr<CLI::App> app_;
};

} // namespace braid

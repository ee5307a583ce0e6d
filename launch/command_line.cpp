#include "launch/command_line.h"

#include <CLI/CLI.hpp>

#include "data/documents.h"

namespace braid {

Option Option::required() const {
    option_->required();
    return *this;
}

Option Option::range(int64_t min, int64_t max) const {
    option_->check(CLI::Range(min, max));
    return *this;
}

Option Option::range(double min, double max) const {
    option_->check(CLI::Range(min, max));
    return *this;
}

Option Option::non_negative() const {
    option_->check(CLI::NonNegativeNumber);
    return *this;
}

Option Option::one_of(const std::vector<std::string>& values) const {
    option_->check(CLI::IsMember(values));
    return *this;
}

Option Option::needs(Option other) const {
    option_->needs(other.option_);
    return *this;
}

Option Option::excludes(Option other) const {
    option_->excludes(other.option_);
    return *this;
}

Option Option::separated_by(char separator) const {
    option_->delimiter(separator);
    return *this;
}

Option Option::show_default() const {
    option_->capture_default_str();
    return *this;
}

Command Command::subcommand(const std::string& name, const std::string& help) const {
    return Command(*app_->add_subcommand(name, help));
}

void Command::require_subcommand() const {
    app_->require_subcommand(1);
}

Option Command::option(const std::string& names, std::string& target, const std::string& help) const {
    return Option(app_->add_option(names, target, help));
}

Option Command::option(const std::string& names, int64_t& target, const std::string& help) const {
    return Option(app_->add_option(names, target, help));
}

Option Command::option(const std::string& names, uint64_t& target, const std::string& help) const {
    return Option(app_->add_option(names, target, help));
}

Option Command::option(const std::string& names, double& target, const std::string& help) const {
    return Option(app_->add_option(names, target, help));
}

Option Command::option(const std::string& names, std::vector<std::string>& target,
                       const std::string& help) const {
    return Option(app_->add_option(names, target, help));
}

Option Command::option(const std::string& names, std::vector<int32_t>& target,
                       const std::string& help) const {
    return Option(app_->add_option(names, target, help));
}

Option Command::option(const std::string& names, InputFormat& target, const std::string& help,
                       const std::map<std::string, InputFormat>& values) const {
    return Option(app_->add_option(names, target, help)->transform(CLI::CheckedTransformer(values)));
}

Option Command::flag(const std::string& names, bool& target, const std::string& help) const {
    return Option(app_->add_flag(names, target, help));
}

void Command::footer(const std::string& text) const {
    app_->footer(text);
}

void Command::callback(const std::function<void()>& called) const {
    app_->callback(called);
}

void refuse_missing(const std::string& what) {
    throw CLI::RequiredError(what);
}

CommandLine::CommandLine(const std::string& name, const std::string& help, const std::string& version)
    : app_(std::make_unique<CLI::App>(help, name)) {
    app_->require_subcommand(1);
    app_->set_version_flag("--version", version);
}

CommandLine::~CommandLine() = default;

Command CommandLine::root() const {
    return Command(*app_);
}

std::optional<ExitCode> CommandLine::parse(int argc, const char* const* argv) const {
    try {
        app_->parse(argc, argv);
    } catch (const CLI::ParseError& error) {
        // CLI11 has a code per kind of fault, and 0 for --help; ours is one.
        return app_->exit(error) == 0 ? ExitCode::ok : ExitCode::usage;
    }
    return std::nullopt;
}

} // namespace braid

#include "launch/command_line.h"

#include <fmt/ranges.h>

#include <CLI/CLI.hpp>
#include <limits>

#include "base/config_value.h"
#include "base/suggest.h"
#include "data/documents.h"

namespace braid {
namespace {

YamlNode node_of(const std::string& word) {
    return word.empty() ? YamlNode{} : YamlNode::plain(word); // messages say "nothing" of what is empty
}

/// What `read` has against a word, or "". The readers are those of run files: CLI11's own take 0x10 for 16,
/// 010 for 8, and drop what is empty in a list.
template <typename Read>
std::string fault_of(const std::string& word, const Read& read) {
    try {
        read(node_of(word));
        return "";
    } catch (const ValueFault& fault) {
        return fault.what();
    }
}

std::string whole_number_fault(const std::string& word) {
    return fault_of(word, [](const YamlNode& node) { read_integer(node, {}); });
}

std::string seed_fault(const std::string& word) {
    return fault_of(word, [](const YamlNode& node) { read_seed(node); });
}

std::string number_fault(const std::string& word) {
    return fault_of(word, [](const YamlNode& node) { read_number(node, {}); });
}

std::vector<int32_t> read_list(const std::string& text) {
    constexpr KeySpec kIds{.min = 0, .max = std::numeric_limits<int32_t>::max()};
    std::vector<int32_t> values;
    for (size_t begin = 0; begin <= text.size();) {
        const size_t comma = std::min(text.find(',', begin), text.size());
        const YamlNode part = node_of(text.substr(begin, comma - begin));
        values.push_back(static_cast<int32_t>(read_integer(part, kIds)));
        begin = comma + 1;
    }
    return values;
}

CLI::Validator one_of_check(const std::vector<std::string>& values) {
    return CLI::Validator(
        [values](std::string& word) {
            if (std::find(values.begin(), values.end(), word) != values.end()) return std::string();
            return fmt::format("expected one of {}, found {}{}", join_choices(values), word,
                               did_you_mean(word, values));
        },
        fmt::format("{{{}}}", fmt::join(values, ",")));
}

/// The names of an app's options or commands.
std::vector<std::string> option_names(const CLI::App& app) {
    std::vector<std::string> names;
    for (const CLI::Option* const option : app.get_options()) {
        for (const std::string& name : option->get_lnames()) names.push_back("--" + name);
        for (const std::string& name : option->get_snames()) names.push_back("-" + name);
    }
    return names;
}

std::vector<std::string> command_names(const CLI::App& app) {
    std::vector<std::string> names;
    for (const CLI::App* const command : app.get_subcommands([](const CLI::App*) { return true; }))
        names.push_back(command->get_name());
    return names;
}

/// What to say of the first word that nothing takes, with what it may have been meant for; "" where all words
/// were taken.
std::string unknown_word(const CLI::App& root) {
    std::string path;
    for (const CLI::App* app = &root; app;) {
        path += (path.empty() ? "" : " ") + app->get_name();
        const std::vector<std::string> left = app->remaining();
        const std::vector<std::string> commands = command_names(*app);
        if (!left.empty()) {
            const std::string& word = left[0];
            if (word.size() > 1 && word[0] == '-')
                return fmt::format("{}: unknown option {}{}", path, word,
                                   did_you_mean(word.substr(0, word.find('=')), option_names(*app)));
            if (commands.empty()) return fmt::format("{}: unexpected argument {}", path, word);
            const std::string meant = did_you_mean(word, commands);
            return fmt::format("{}: unknown command {}{}", path, word,
                               meant.empty() ? "; expected one of " + join_choices(commands) : meant);
        }
        const auto chosen = app->get_subcommands();
        app = chosen.empty() ? nullptr : chosen[0];
    }
    return "";
}

} // namespace

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
    option_->check(one_of_check(values));
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

bool Option::given() const {
    return option_->count() > 0;
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
    return Option(app_->add_option(names, target, help)->check(whole_number_fault, ""));
}

Option Command::option(const std::string& names, uint64_t& target, const std::string& help) const {
    return Option(app_->add_option(names, target, help)->check(seed_fault, ""));
}

Option Command::option(const std::string& names, double& target, const std::string& help) const {
    return Option(app_->add_option(names, target, help)->check(number_fault, ""));
}

Option Command::option(const std::string& names, std::vector<std::string>& target,
                       const std::string& help) const {
    return Option(app_->add_option(names, target, help));
}

Option Command::option(const std::string& names, std::vector<int32_t>& target,
                       const std::string& help) const {
    const auto read = [&target](const CLI::results_t& words) {
        target = read_list(words.at(0));
        return true;
    };
    const auto fault = [](const std::string& word) {
        try {
            read_list(word);
            return std::string();
        } catch (const ValueFault& error) {
            return "in the list " + word.substr(0, 60) + ": " + error.what();
        }
    };
    return Option(app_->add_option(names, read, help)->type_name("INT,INT,...")->check(fault, ""));
}

Option Command::option(const std::string& names, InputFormat& target, const std::string& help,
                       const std::map<std::string, InputFormat>& values) const {
    std::vector<std::string> spellings;
    for (const auto& [spelling, value] : values) spellings.push_back(spelling);
    const auto read = [&target, values](const CLI::results_t& words) {
        target = values.at(words.at(0));
        return true;
    };
    return Option(app_->add_option(names, read, help)->check(one_of_check(spellings)));
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
        const bool asks = error.get_exit_code() == 0; // for --help or --version
        if (const std::string unknown = asks ? "" : unknown_word(*app_); !unknown.empty()) {
            std::fputs((unknown + "\nRun with --help for more information.\n").c_str(), stderr);
            return ExitCode::usage;
        }
        // CLI11 has a code per kind of fault, and 0 for --help; ours is one.
        return app_->exit(error) == 0 ? ExitCode::ok : ExitCode::usage;
    }
    return std::nullopt;
}

} // namespace braid

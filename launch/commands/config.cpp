#include <fmt/core.h>

#include <memory>
#include <set>
#include <string>
#include <vector>

#include "launch/commands.h"
#include "launch/config_show.h"
#include "launch/warnings.h"
#include "trainer/config/run_check.h"
#include "trainer/config/run_config.h"
#include "trainer/config/run_schema.h"

namespace braid {

namespace {

struct ConfigArguments {
    std::string path;
    std::string other;
    std::vector<std::string> overrides;
    int64_t ranks = 0;
    bool without_data = false;
    bool tensors = false;
    bool markdown = false;
};

ExitCode show_config(const ConfigArguments& arguments) {
    const RunConfig run = read_run_config(arguments.path, arguments.overrides);
    // Both are made before anything is printed, so that a fault leaves no half of an answer.
    const std::string text = describe_model(run) + (arguments.tensors ? describe_tensors(run) : "");
    fmt::print("{}", text);
    return ExitCode::ok;
}

ExitCode check_config(const ConfigArguments& arguments) {
    const RunReading reading = read_run_file(arguments.path, arguments.overrides);
    find_file_faults(reading, static_cast<int>(arguments.ranks), !arguments.without_data).raise();
    print_warnings(run_warnings(reading.run));
    print_warnings(override_warnings(reading.run, arguments.path, arguments.overrides));
    fmt::print("{}: ok, run {}\n", arguments.path, reading.run.name);
    return ExitCode::ok;
}

ExitCode print_keys(const ConfigArguments& arguments) {
    fmt::print("{}", arguments.markdown ? config_reference() : key_lines());
    return ExitCode::ok;
}

/// One line per key that differs, which starts with * where the key changes the numbers of a run; then the
/// sizes of both models, as what looks like one change may make another model.
ExitCode diff_configs(const ConfigArguments& arguments) {
    const RunConfig a = read_run_config(arguments.path), b = read_run_config(arguments.other);
    std::set<std::string> numeric;
    for (const ConfigDifference& difference : numeric_differences(a, b)) numeric.insert(difference.key);
    for (const ConfigDifference& difference : all_differences(a, b))
        fmt::print("{} {}: {} -> {}\n", numeric.contains(difference.key) ? "*" : " ", difference.key,
                   difference.old_value, difference.new_value);
    fmt::print("{}", describe_sizes(a, b));
    return ExitCode::ok;
}

} // namespace

void add_config_command(Command app, CommandRun& action) {
    const auto arguments = std::make_shared<ConfigArguments>();
    const Command config = app.subcommand("config", "Show, check and compare run files");
    config.require_subcommand();

    const Command show = config.subcommand("show", "Print the model layer by layer and its parameter counts");
    show.option("config", arguments->path, "a run file").required();
    show.option("overrides", arguments->overrides, "key.path=value");
    show.flag("--tensors", arguments->tensors,
              "also list every tensor: shape, role, initial deviation, decay, scale");
    show.callback([=, &action] { action = [=] { return show_config(*arguments); }; });

    const Command check = config.subcommand(
        "check", "Report every fault of a run file and of its data files that train would stop for");
    check.option("config", arguments->path, "a run file").required();
    check.option("overrides", arguments->overrides, "key.path=value");
    check
        .option("--ranks", arguments->ranks,
                "Check the layout on this many ranks; left out, on the fewest that it can have")
        .range(int64_t{1}, kMostRanks);
    check.flag("--without-data", arguments->without_data,
               "Leave the data files alone, where they lie on another machine");
    check.callback([=, &action] { action = [=] { return check_config(*arguments); }; });

    const Command keys =
        config.subcommand("keys", "List every key: what it takes, its default, what it does");
    keys.flag("--markdown", arguments->markdown, "as the text of docs/config.md");
    keys.callback([=, &action] { action = [=] { return print_keys(*arguments); }; });

    const Command diff =
        config.subcommand("diff",
                          "List the keys in which two run files differ (* changes the numbers), and the "
                          "parameters and FLOPs per token of both");
    diff.option("a", arguments->path, "a run file").required();
    diff.option("b", arguments->other, "another").required();
    diff.callback([=, &action] { action = [=] { return diff_configs(*arguments); }; });
}

} // namespace braid

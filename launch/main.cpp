#include <fmt/core.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <exception>
#include <new>

#include "launch/commands.h"
#include "trainer/build_info.h"

namespace {

using namespace braid;

std::string version_line() {
    const BuildInfo& build = build_info();
    return fmt::format("braid {}, commit {}, {} build by {} for {}", build.version, build.commit, build.type,
                       build.compiler, build.processor);
}

void add_commands(CLI::App& app, Action& action) {
    add_train_command(app, action);
    add_verify_command(app, action);
    add_eval_command(app, action);
    add_generate_command(app, action);
    add_doctor_command(app, action);
    add_config_command(app, action);
    add_data_command(app, action);
    add_checkpoint_command(app, action);
}

/// Runs the action and prints the one message of a failure to stderr.
ExitCode run(const Action& action) {
    try {
        return action();
    } catch (const Error& error) {
        fmt::print(stderr, "braid: {}\n", error.what());
        return error.exit_code();
    } catch (const std::bad_alloc&) {
        fmt::print(stderr, "braid: out of memory\n");
    } catch (const std::exception& error) {
        fmt::print(stderr, "braid: {}\n", error.what());
    }
    return ExitCode::internal;
}

} // namespace

int main(int argc, char** argv) {
    CLI::App app("Braid trains hybrid mixture-of-experts language models.", "braid");
    app.require_subcommand(1);
    app.set_version_flag("--version", version_line());
    Action action;
    add_commands(app, action);
    try {
        app.parse(argc, argv);
    } catch (const CLI::ParseError& error) {
        // CLI11 has a code per kind of fault, and 0 for --help; ours is one.
        return app.exit(error) == 0 ? 0 : static_cast<int>(ExitCode::usage);
    }
    return static_cast<int>(run(action));
}

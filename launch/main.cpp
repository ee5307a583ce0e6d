#include <fmt/core.h>

#include <cstdio>
#include <exception>
#include <new>
#include <optional>

#include "launch/blas_kernels.h"
#include "launch/commands.h"
#include "trainer/build_info.h"

namespace {

using namespace braid;

std::string version_line() {
    const BuildInfo& build = build_info();
    return fmt::format("braid {}, commit {}, {} build by {} for {}", build.version, build.commit, build.type,
                       build.compiler, build.processor);
}

void add_commands(Command app, Action& action) {
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
    restart_with_better_blas_kernels(argv);
    const CommandLine command_line("braid", "Braid trains hybrid mixture-of-experts language models.",
                                   version_line());
    Action action;
    add_commands(command_line.root(), action);
    const std::optional<ExitCode> finished = command_line.parse(argc, argv);
    return static_cast<int>(finished ? *finished : run(action));
}

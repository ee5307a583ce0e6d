#include <fmt/core.h>

#include <cstdio>
#include <cstdlib>
#include <exception>
#include <new>
#include <optional>
#include <string>
#include <string_view>

#include "launch/commands.h"
#include "launch/output.h"
#include "launch/process_start.h"
#include "trainer/machine/build_info.h"

namespace {

using namespace braid;

std::string version_line() {
    const BuildInfo& build = build_info();
    return fmt::format("braid {}, commit {}, {} build by {} for {}", build.version, build.commit, build.type,
                       build.compiler, build.processor);
}

void add_commands(Command app, CommandRun& action) {
    add_train_command(app, action);
    add_verify_command(app, action);
    add_sweep_command(app, action);
    add_eval_command(app, action);
    add_generate_command(app, action);
    add_replay_command(app, action);
    add_report_command(app, action);
    add_doctor_command(app, action);
    add_config_command(app, action);
    add_data_command(app, action);
    add_checkpoint_command(app, action);
}

/// Runs the action and prints the one message of a failure to stderr.
ExitCode run(const CommandRun& action) {
    try {
        return action();
    } catch (const OutputError& error) {
        return report_output_failure(error);
    } catch (const Error& error) {
        print_error(error.what());
        return error.exit_code();
    } catch (const std::bad_alloc&) {
        print_error("out of memory");
        return ExitCode::usage;
    } catch (const std::exception& error) {
        if (std::ferror(stdout)) return ExitCode::ok; // fmt's own exception; finish_output says it
        print_error(error.what());
    }
    return ExitCode::internal;
}

} // namespace

int main(int argc, char** argv) {
    try {
        prepare_process(argv);
    } catch (const Error& error) {
        // Before MPI ranks cannot agree on who speaks; those of one machine have one environment.
        const char* const local_rank = std::getenv("OMPI_COMM_WORLD_LOCAL_RANK");
        if (!local_rank || std::string_view(local_rank) == "0") print_error(error.what());
        return static_cast<int>(error.exit_code());
    }
    const CommandLine command_line("braid", "Braid trains hybrid mixture-of-experts language models.",
                                   version_line());
    CommandRun action;
    add_commands(command_line.root(), action);
    const std::optional<ExitCode> finished = command_line.parse(argc, argv);
    return static_cast<int>(finish_output(finished ? *finished : run(action)));
}

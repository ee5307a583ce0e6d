#include <memory>

#include "launch/commands.h"
#include "launch/own_command.h"
#include "launch/progress_on_screen.h"
#include "launch/ranks.h"
#include "launch/stop_signal.h"
#include "launch/warnings.h"
#include "parallel/agreement.h"
#include "trainer/config/device_choice.h"
#include "trainer/config/run_check.h"
#include "trainer/run/run.h"

namespace braid {
namespace {

struct TrainArguments {
    std::string config;
    std::vector<std::string> overrides;
    std::string resume = "auto";
    bool dry_run = false;
};

ExitCode train(const TrainArguments& arguments) {
    install_stop_signals();
    stop_ends_process(true); // nothing is there to be saved yet
    return run_as_rank([&](MpiSession& session) {
        TrainRequest request;
        agree(session.world(),
              [&] { request.config = read_run_config(arguments.config, arguments.overrides); });
        if (session.world().rank() == 0)
            print_warnings(override_warnings(request.config, arguments.config, arguments.overrides));
        session.watch(request.config.parallel.watchdog_seconds, request.config.run_dir);
        request.resume = arguments.resume;
        request.dry_run = arguments.dry_run;
        request.command = own_command();
        if (!session.library().empty()) request.libraries["MPI"] = session.library();
        request.num_threads = set_num_threads(request.config.train.threads, session.node_size());
        request.node_size = session.node_size();
        agree(session.world(), [&] {
            request.compute =
                Stream(choose_device(request.config.train.device, session.node_rank(), session.node_size()));
        });
        session.use_gpus(request.compute);
        request.progress = progress_on_screen();
        request.started = [] { stop_ends_process(false); };
        request.stop_requested = stop_requested;
        return run_training(request, session.world());
    });
}

} // namespace

void add_train_command(Command app, CommandRun& action) {
    auto arguments = std::make_shared<TrainArguments>();
    const Command command = app.subcommand("train", "Train a model; output goes to runs/NAME (or run_dir)");
    command.option("CONFIG", arguments->config, "The run file").required();
    command.option("KEY=VALUE", arguments->overrides, "Keys to override, such as optimizer.lr=1e-3");
    command
        .option("--resume", arguments->resume,
                "auto: go on from the newest checkpoint that verifies; never: refuse a used run folder; "
                "or the path of a "
                "checkpoint")
        .show_default();
    command.flag("--dry-run", arguments->dry_run, "Check everything, report, and stop before the first step");
    command.callback([arguments, &action] { action = [arguments] { return train(*arguments); }; });
}

} // namespace braid

#include <memory>

#include "launch/commands.h"
#include "launch/output.h"
#include "launch/ranks.h"
#include "launch/stop_signal.h"
#include "parallel/agreement.h"
#include "trainer/config/device_choice.h"
#include "trainer/run/replay.h"

namespace braid {
namespace {

struct ReplayArguments {
    std::string run;
    std::vector<std::string> overrides;
    int64_t step = 0;
};

ExitCode run_replay(const ReplayArguments& arguments) {
    install_stop_signals();
    stop_ends_process(true); // nothing is written
    return run_as_rank([&](MpiSession& session) {
        ReplayRequest request;
        request.run_folder = arguments.run;
        request.step = arguments.step;
        request.node_size = session.node_size();
        agree(session.world(),
              [&] { request.config = read_folder_config(arguments.run, arguments.overrides); });
        const TrainConfig& train = request.config.train;
        session.watch(request.config.parallel.watchdog_seconds, "");
        set_num_threads(train.threads, session.node_size());
        agree(session.world(), [&] {
            request.compute = Stream(choose_device(train.device, session.node_rank(), session.node_size()));
        });
        session.use_gpus(request.compute);
        request.print = [](const std::string& line) { print_output(line + "\n"); };
        request.notice = [](const std::string& text) { print_error(text); };
        replay(request, session.world());
        return ExitCode::ok;
    });
}

} // namespace

void add_replay_command(Command app, CommandRun& action) {
    auto arguments = std::make_shared<ReplayArguments>();
    const Command command = app.subcommand(
        "replay", "Run steps of a run again, bit for bit, with every diagnostic; writes nothing");
    command.option("RUN", arguments->run, "The run folder").required();
    command.option("KEY=VALUE", arguments->overrides, "Keys to override, to see what they change");
    command.option("--step", arguments->step, "The last step to run; it begins at the checkpoint before")
        .required()
        .range(int64_t{1}, int64_t{1'000'000'000'000});
    command.callback([arguments, &action] { action = [arguments] { return run_replay(*arguments); }; });
}

} // namespace braid

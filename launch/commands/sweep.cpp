#include <filesystem>
#include <memory>
#include <optional>

#include "ablation/sweep/forecast.h"
#include "ablation/sweep/sweep.h"
#include "launch/commands.h"
#include "launch/output.h"
#include "launch/own_command.h"
#include "launch/progress_on_screen.h"
#include "launch/ranks.h"
#include "launch/stop_signal.h"
#include "parallel/agreement.h"
#include "trainer/config/device_choice.h"
#include "trainer/config/run_check.h"

namespace braid {
namespace {

struct SweepArguments {
    std::string sweep;
    int64_t groups = 1, only = -1, look = 1;
    bool list = false, dry_run = false, accept_change = false;
};

SweepPlan plan_of(const SweepArguments& arguments) {
    const SweepPlan plan = make_plan(read_sweep(arguments.sweep), arguments.sweep);
    if (arguments.look > plan.sweep.looks)
        throw ConfigError("--look {}: the plan has {} (looks in {})", arguments.look, plan.sweep.looks,
                          arguments.sweep);
    return plan;
}

std::string folder_of(const SweepPlan& plan) {
    return "sweeps/" + plan.sweep.name;
}

/// What needs no ranks: the runs of the plan, or what it will cost and can show.
ExitCode describe(const SweepArguments& arguments) {
    const SweepPlan plan = plan_of(arguments);
    if (arguments.dry_run) expect_plan_starts(plan, static_cast<int>(fewest_ranks(plan.base.parallel)));
    SweepResults results(plan, folder_of(plan));
    if (arguments.list)
        print_output(list_runs(plan, results, arguments.look));
    else
        print_output(describe_plan(plan, results, arguments.look));
    return ExitCode::ok;
}

/// The ranks of this one's group: the world where there is one group.
std::unique_ptr<Communicator> split_world(Communicator& world, int64_t groups) {
    if (groups == 1) return nullptr;
    if (world.size() % groups != 0)
        throw AgreedError(ExitCode::usage, fmt::format("--groups {}: expected a divisor of the {} ranks",
                                                       groups, world.size()));
    const int size = world.size() / static_cast<int>(groups);
    return world.split(world.rank() / size, world.rank() % size, "sweep");
}

ExitCode run(const SweepArguments& arguments) {
    install_stop_signals();
    return run_as_rank([&](MpiSession& session) {
        Communicator& world = session.world();
        SweepRequest request;
        agree(world, [&] { request.plan = plan_of(arguments); });
        const RunConfig& base = request.plan.base;
        request.folder = folder_of(request.plan);
        request.look = arguments.look;
        if (arguments.only >= 0) request.only = static_cast<size_t>(arguments.only);
        request.shared = arguments.groups > 1;
        request.accept_change = arguments.accept_change;
        session.watch(base.parallel.watchdog_seconds, request.folder);
        TrainRequest& train = request.train;
        train.command = own_command();
        if (!session.library().empty()) train.libraries["MPI"] = session.library();
        train.num_threads = set_num_threads(base.train.threads, session.node_size());
        train.node_size = session.node_size();
        agree(world, [&] {
            train.compute =
                Stream(choose_device(base.train.device, session.node_rank(), session.node_size()));
        });
        session.use_gpus(train.compute);
        const std::unique_ptr<Communicator> part = split_world(session.world(), arguments.groups);
        Communicator& group = part ? *part : session.world();
        agree(world, [&] { expect_plan_starts(request.plan, group.size()); });
        train.stop_requested = stop_requested;
        // Several groups would write into each other's lines.
        train.progress = progress_on_screen();
        if (part) {
            train.progress.write = [](std::string_view) {};
            train.progress.terminal = false;
        }
        request.say = [](const std::string& line) { print_notice(line + "\n"); };
        const ExitCode code = run_sweep(request, group);
        if (world.rank() == 0 && !request.only) {
            SweepResults results(request.plan, request.folder);
            print_notice(results_table(request.plan, results, request.look));
            print_notice(closing_words(request.plan, results, request.folder, request.look));
        }
        return code;
    });
}

} // namespace

void add_sweep_command(Command app, CommandRun& action) {
    const auto arguments = std::make_shared<SweepArguments>();
    const Command command = app.subcommand(
        "sweep", "Run the variants of a sweep file and judge them; output goes to sweeps/NAME");
    command.option("SWEEP", arguments->sweep, "The sweep file").required();
    const Option list = command.flag("--list", arguments->list, "List the runs, their numbers and states");
    const Option dry_run =
        command.flag("--dry-run", arguments->dry_run,
                     "Check everything; print what it costs and the smallest difference it "
                     "can show");
    command.option("--groups", arguments->groups, "Share the ranks out over this many runs at a time")
        .range(int64_t{1}, int64_t{1} << 20)
        .excludes(list)
        .excludes(dry_run);
    command.option("--only", arguments->only, "Run this one of --list alone, as one job of an array")
        .range(int64_t{0}, int64_t{1} << 20)
        .excludes(list)
        .excludes(dry_run);
    command.option("--look", arguments->look, "Take the verdict at this look of the plan, with its seeds")
        .range(int64_t{1}, int64_t{10})
        .show_default();
    command.flag("--accept-change", arguments->accept_change,
                 "Go on with a plan that was changed after its first start; the report will say so");
    command.callback([=, &action] {
        action = [=] {
            return arguments->list || arguments->dry_run ? describe(*arguments) : run(*arguments);
        };
    });
}

} // namespace braid

#include "ablation/sweep/planned_run.h"

#include <sstream>

#include "base/error.h"
#include "trainer/checkpoint/checkpoint_folder.h"
#include "trainer/run/run_folder.h"

namespace braid {
namespace {

/// "lr-0.002" of optimizer.lr.
std::string tuned_text(const SweepPlan& plan, double value) {
    const std::string& key = plan.sweep.tune.key;
    const size_t dot = key.rfind('.');
    return fmt::format("{}-{}", dot == std::string::npos ? key : key.substr(dot + 1), value);
}

} // namespace

PlannedRun make_run(const SweepPlan& plan, const std::string& folder, RunRole role, const RunKey& key,
                    uint64_t seed) {
    PlannedRun run{.role = role, .key = key, .seed = seed};
    std::string name = plan.variants[key.variant].id;
    // What judges has one value of each variant.
    if (role == RunRole::tune || (role == RunRole::trunk && key.tuned))
        name += "_" + tuned_text(plan, *key.tuned);
    if (key.steps > 0) name += fmt::format("_steps-{}", key.steps);
    run.id = fmt::format("{}/{}_s{}", role == RunRole::judge ? "runs" : to_string(role), name, seed);
    run.folder = folder + "/" + run.id;
    return run;
}

std::string encode_run(const PlannedRun& run) {
    return fmt::format("{} {} {} {} {} {} {} {}", static_cast<int>(run.role), run.key.variant, run.seed,
                       run.key.tuned ? fmt::format("{}", *run.key.tuned) : "none", run.key.steps, run.stop_at,
                       run.branch_step, run.trunk.empty() ? "none" : run.trunk);
}

PlannedRun decode_run(const SweepPlan& plan, const std::string& folder, const std::string& text) {
    std::istringstream words(text);
    int role = 0;
    RunKey key;
    uint64_t seed = 0;
    int64_t stop_at = 0, branch_step = 0;
    std::string tuned, trunk;
    words >> role >> key.variant >> seed >> tuned >> key.steps >> stop_at >> branch_step >> trunk;
    check(!words.fail() && key.variant < plan.variants.size(), "\"{}\" is no run of the sweep", text);
    if (tuned != "none") key.tuned = std::stod(tuned);
    PlannedRun run = make_run(plan, folder, static_cast<RunRole>(role), key, seed);
    run.stop_at = stop_at;
    run.branch_step = branch_step;
    if (trunk != "none") run.trunk = trunk;
    return run;
}

RunConfig run_config(const SweepPlan& plan, const PlannedRun& run) {
    RunSettings settings{.seed = run.seed,
                         .tuned = run.key.tuned,
                         .steps = run.key.steps,
                         .stop_at = run.stop_at,
                         .run_dir = run.folder};
    if (!run.trunk.empty())
        settings.branch_of =
            fmt::format("{}/{}/{}", run.trunk_folder(), kCheckpointsFolder, checkpoint_name(run.branch_step));
    return run_config(plan, plan.variants[run.key.variant], settings);
}

} // namespace braid

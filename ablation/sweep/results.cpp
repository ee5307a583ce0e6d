#include <algorithm>

#include "ablation/sweep/sweep.h"

namespace braid {
namespace {

/// A field of a CSV file (RFC 4180).
std::string field(const std::string& text) {
    if (text.find_first_of(",\"\n") == std::string::npos) return text;
    std::string quoted = "\"";
    for (const char c : text) quoted += c == '"' ? std::string("\"\"") : std::string(1, c);
    return quoted + '"';
}

TrunkPart trunk_part(const PlannedRun& run) {
    return run.trunk.empty() ? TrunkPart{} : TrunkPart{run.trunk_folder(), run.branch_step};
}

std::string shown(const RunResult& result) {
    switch (result.state) {
        case RunState::missing:
            return "-";
        case RunState::unfinished:
            return fmt::format("step {}", result.step);
        case RunState::ended:
            return fmt::format("{:.5g}", *result.outcome);
        case RunState::diverged:
            return "diverged";
        case RunState::failed:
            return fmt::format("exit {}", result.exit_code);
    }
    return "";
}

} // namespace

RunResult SweepResults::of(const PlannedRun& run) {
    const auto known = final_.find(run.name());
    if (known != final_.end()) return known->second;
    RunResult result;
    if (run.role == RunRole::trunk) {
        result = read_trunk_result(run.folder, run.stop_at);
    } else {
        const int64_t steps = run.key.steps > 0 ? run.key.steps : plan_.variants[run.key.variant].steps;
        result = read_run_result(run.folder, plan_.sweep.outcome, steps, trunk_part(run));
        if (result.state == RunState::missing && !run.trunk.empty()) {
            const RunResult trunk = read_trunk_result(run.trunk_folder(), run.branch_step);
            if (trunk.state == RunState::diverged) result.state = RunState::diverged;
        }
    }
    if (result.is_final()) final_[run.name()] = result;
    return result;
}

std::vector<std::pair<int64_t, double>> SweepResults::curve(const PlannedRun& run,
                                                            const std::string& metric) const {
    return metric_curve(run.folder, metric, trunk_part(run));
}

Tuning SweepResults::tuning() {
    return tuning_so_far(
        plan_, folder_, [this](const PlannedRun& run) { return of(run); }, &trunks_);
}

std::string list_runs(const SweepPlan& plan, SweepResults& results, int64_t look) {
    std::string text;
    size_t number = 0;
    for (const PlannedRun& run : results.runs(look)) {
        const RunResult result = results.of(run);
        text += fmt::format("{:>4}  {:10}  {:>10}  {}\n", number++, to_string(result.state),
                            result.outcome ? fmt::format("{:.6g}", *result.outcome) : "", run.name());
    }
    if (!results.tuning().finished)
        text += fmt::format("and those that judge, once {} is chosen\n", plan.sweep.tune.key);
    return text;
}

std::string results_table(const SweepPlan& plan, SweepResults& results, int64_t look) {
    const std::vector<uint64_t> seeds = plan.seeds_at(look);
    const std::vector<PlannedRun> runs = results.runs(look);
    size_t width = 0;
    for (const Variant& variant : plan.variants) width = std::max(width, variant.label.size());
    std::string text = fmt::format("{:{}}", plan.sweep.outcome.metric, width);
    for (const uint64_t seed : seeds) text += fmt::format("  {:>10}", fmt::format("seed {}", seed));
    text += "\n";
    for (size_t variant = 0; variant < plan.variants.size(); ++variant) {
        text += fmt::format("{:{}}", plan.variants[variant].label, width);
        for (const uint64_t seed : seeds) {
            const auto run = std::find_if(runs.begin(), runs.end(), [&](const PlannedRun& r) {
                return r.role == RunRole::judge && r.key.variant == variant && r.seed == seed;
            });
            text += fmt::format("  {:>10}", run == runs.end() ? "-" : shown(results.of(*run)));
        }
        text += plan.variants[variant].is_reference ? "  reference\n" : "\n";
    }
    return text;
}

std::string results_csv(const SweepPlan& plan, SweepResults& results, int64_t look) {
    std::string text = "role,variant";
    for (const SweepAxis& axis : plan.sweep.axes) text += fmt::format(",{}", field(axis.name));
    if (!plan.sweep.tune.key.empty()) text += fmt::format(",{}", field(plan.sweep.tune.key));
    text += ",seed,state," + field(plan.sweep.outcome.metric) +
            ",steps,tokens,flops,hours,total_parameters,active_parameters,folder\n";
    for (const PlannedRun& run : results.runs(look)) {
        const Variant& variant = plan.variants[run.key.variant];
        const RunResult result = results.of(run);
        text += fmt::format("{},{}", to_string(run.role), field(variant.id));
        for (const SweepAxis& axis : plan.sweep.axes)
            text += fmt::format(",{}", field(variant.levels.at(axis.name)));
        if (!plan.sweep.tune.key.empty()) text += fmt::format(",{}", run.key.tuned.value_or(0));
        text += fmt::format(",{},{},{},{},{},{},{},{},{},{}\n", run.seed, to_string(result.state),
                            result.outcome ? fmt::format("{}", *result.outcome) : "", result.step,
                            result.tokens, result.flops, result.hours, variant.size.total_parameters,
                            variant.size.active_parameters, field(run.name()));
    }
    return text;
}

} // namespace braid

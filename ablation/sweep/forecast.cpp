#include "ablation/sweep/forecast.h"

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <utility>

#include "ablation/sweep/judged.h"
#include "ablation/sweep/sentences.h"
#include "ablation/sweep/verdict.h"
#include "trainer/machine/gemm_rate.h"

namespace braid {
namespace {

/// What a machine does of its matrix products' rate in training, where nothing is known of it.
constexpr double kGuessedMfu = 0.3;

struct Speed {
    double flops_per_hour = 0;
    std::string source;
};

Speed speed_of(const SweepPlan& plan, SweepResults& results, const std::vector<PlannedRun>& runs) {
    double flops = 0, hours = 0;
    int64_t count = 0;
    for (const PlannedRun& run : runs) {
        const RunResult result = results.of(run);
        if (result.state != RunState::ended) continue;
        flops += result.flops;
        hours += result.hours;
        ++count;
    }
    if (hours > 0) return {flops / hours, fmt::format("as {} runs of it took", count)};
    const double rate = gemm_rate(plan.base.train.precision);
    return {rate * kGuessedMfu * 3600,
            fmt::format("a guess: {:.0f}% of this process's {:.3g} GFLOP/s", 100 * kGuessedMfu, rate * 1e-9)};
}

/// The noise of judged runs that have ended, over the seeds that all variants have.
std::optional<Noise> pilot_noise(const SweepPlan& plan, SweepResults& results,
                                 const std::vector<PlannedRun>& runs) {
    Outcomes outcomes(plan.variants.size());
    for (const uint64_t seed : plan.judge_seeds) {
        std::vector<std::optional<double>> column(plan.variants.size());
        for (const PlannedRun& run : runs)
            if (run.role == RunRole::judge && run.seed == seed)
                column[run.key.variant] = results.of(run).outcome;
        if (!std::all_of(column.begin(), column.end(), [](const auto& value) { return value.has_value(); }))
            continue;
        for (size_t variant = 0; variant < column.size(); ++variant)
            outcomes[variant].push_back(column[variant]);
    }
    if (outcomes[0].size() < 2) return std::nullopt;
    return judge(outcomes, {.reference = plan.reference, .levels = {}}).noise;
}

std::string size_table(const SweepPlan& plan) {
    size_t width = 7;
    for (const Variant& variant : plan.variants) width = std::max(width, variant.label.size());
    std::string text = fmt::format("{:{}}  {:>14}  {:>14}  {:>12}  {:>10}\n", "variant", width, "parameters",
                                   "active", "FLOPs/token", "steps");
    for (const Variant& variant : plan.variants) {
        text += fmt::format("{:{}}  {:>14}  {:>14}  {:>12.4g}  {:>10}", variant.label, width,
                            variant.size.total_parameters, variant.size.active_parameters,
                            variant.size.flops_per_token, variant.steps);
        if (variant.is_reference) text += "  reference";
        if (variant.adjusted)
            text += fmt::format("  {} {} ({:+.2f}% of the reference's {})", variant.adjusted->key,
                                variant.adjusted->value, 100 * variant.adjusted->residue,
                                to_string(plan.sweep.match.quantity));
        text += "\n";
    }
    return text;
}

std::string smallest_difference_line(const SweepPlan& plan, const std::optional<Noise>& noise, int64_t look) {
    const PlannedTest test{.variants = static_cast<int64_t>(plan.variants.size()),
                           .seeds = static_cast<int64_t>(plan.seeds_at(look).size()),
                           .noise_sd = noise ? noise->sd : 1,
                           .looks = plan.sweep.looks};
    const double smallest = smallest_difference(test);
    const std::string unit = unit_of(plan.sweep.outcome.metric);
    if (!noise)
        return fmt::format(
            "smallest difference shown 8 times in 10: {:.2f} times the noise of one run, not measured "
            "yet; what matters is {} {}\n",
            smallest, plan.sweep.matters, unit);
    return fmt::format(
        "smallest difference shown 8 times in 10: {:.2g} {} (noise of one run {:.2g}); what matters is "
        "{}{}\n",
        smallest, unit, noise->sd, plan.sweep.matters,
        smallest > plan.sweep.matters ? ", for which this plan is too small" : "");
}

struct ToCome {
    size_t runs = 0;
    double flops = 0;
};

/// Runs that are not named yet: those that judge while tuning goes on, and rungs of halving behind the
/// newest.
ToCome runs_to_come(const SweepPlan& plan, const Tuning& tuning, int64_t look) {
    ToCome to_come;
    if (tuning.finished) return to_come;
    for (size_t v = 0; v < plan.variants.size(); ++v) {
        const Variant& variant = plan.variants[v];
        const auto add = [&](size_t runs, double share) {
            to_come.runs += runs;
            to_come.flops += flops_of(variant) * static_cast<double>(runs) * share;
        };
        add(plan.seeds_at(look).size(), 1);
        size_t values = plan.sweep.tune.values.size();
        for (int rung = 1; rung < num_rungs(plan.sweep.tune); ++rung) {
            values = (values + 1) / 2;
            const int64_t steps = rung_steps(plan, v, rung);
            const bool named = std::any_of(
                tuning.points.begin(), tuning.points.end(),
                [&](const TuningPoint& point) { return point.variant == v && point.steps == steps; });
            if (!named)
                add(values * plan.tune_seeds.size(),
                    steps > 0 ? static_cast<double>(steps) / static_cast<double>(variant.steps) : 1);
        }
    }
    return to_come;
}

} // namespace

std::string describe_plan(const SweepPlan& plan, SweepResults& results, int64_t look) {
    const std::vector<PlannedRun> runs = results.runs(look);
    const Tuning tuning = results.tuning();
    double left = 0, all = 0;
    std::map<std::string, int64_t> grown; // how far a trunk has come by its stops before
    size_t done = 0, total = runs.size();
    for (const PlannedRun& run : runs) {
        const bool is_done = results.of(run).is_final();
        done += is_done;
        const Variant& variant = plan.variants[run.key.variant];
        int64_t steps = (run.key.steps > 0 ? run.key.steps : variant.steps) - run.branch_step;
        if (run.stop_at > 0) steps = run.stop_at - std::exchange(grown[run.id], run.stop_at);
        const double flops =
            flops_of(variant) * static_cast<double>(steps) / static_cast<double>(variant.steps);
        all += flops;
        if (!is_done) left += flops;
    }
    const ToCome to_come = runs_to_come(plan, tuning, look);
    all += to_come.flops;
    left += to_come.flops;
    total += to_come.runs;
    const Speed speed = speed_of(plan, results, runs);
    std::string text = size_table(plan);
    text += fmt::format("\n{} runs{}; {} done\n", total,
                        tuning.runs.empty()
                            ? ""
                            : fmt::format(", {} of them to tune {}", tuning.runs.size(), plan.sweep.tune.key),
                        done);
    text += fmt::format("{:.3g} FLOPs, of which {:.3g} are left: {:.2g} hours one after another ({})\n", all,
                        left, left / speed.flops_per_hour, speed.source);
    text += smallest_difference_line(plan, pilot_noise(plan, results, runs), look);
    for (const std::string& note : plan_notes(plan)) text += note + "\n";
    return text;
}

std::string closing_words(const SweepPlan& plan, SweepResults& results, const std::string& folder,
                          int64_t look) {
    const std::vector<PlannedRun> runs = results.runs(look);
    size_t missing = 0;
    for (const PlannedRun& run : runs) missing += !results.of(run).is_final();
    if (missing > 0 || !results.tuning().finished)
        return fmt::format("{} of {} runs are missing; the same command goes on\n", missing, runs.size());
    std::string text;
    bool undecided = false;
    const nlohmann::ordered_json verdict = verdict_json(plan, SweepFolder(folder), results, look);
    for (const auto& variant : verdict["variants"]) {
        if (!variant.contains("difference")) continue;
        text += fmt::format("{}: {}\n", variant["label"].get<std::string>(),
                            variant["difference"]["sentence"].get<std::string>());
        undecided |= variant["difference"]["verdict"] == "undecided";
    }
    if (undecided && look < plan.sweep.looks)
        text += fmt::format("the plan allows a further look: --look {}\n", look + 1);
    return text + fmt::format("{0}/verdict.json; braid report {0} -o report.html\n", folder);
}

} // namespace braid

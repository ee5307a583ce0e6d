#include "ablation/sweep/run_list.h"

#include <algorithm>
#include <cmath>
#include <sstream>

#include "base/config_value.h"

namespace braid {
namespace {

/// "lr-0.002" of optimizer.lr.
std::string tuned_text(const SweepPlan& plan, double value) {
    const std::string& key = plan.sweep.tune.key;
    const size_t dot = key.rfind('.');
    return fmt::format("{}-{}", dot == std::string::npos ? key : key.substr(dot + 1), value);
}

PlannedRun make_run(const SweepPlan& plan, const std::string& folder, RunRole role, size_t variant,
                    uint64_t seed, std::optional<double> tuned) {
    PlannedRun run{role, variant, seed, tuned, {}, {}};
    const std::string& name = plan.variants[variant].id;
    run.id = role == RunRole::judge ? fmt::format("runs/{}_s{}", name, seed)
                                    : fmt::format("tune/{}_{}_s{}", name, tuned_text(plan, *tuned), seed);
    run.folder = folder + "/" + run.id;
    return run;
}

/// All points of a grid, with what is known of them.
void measure(const SweepPlan& plan, const std::string& folder, const ResultOf& result_of, Tuning& tuning) {
    tuning.points.clear();
    tuning.runs.clear();
    for (const double value : tuning.grid)
        for (size_t variant = 0; variant < plan.variants.size(); ++variant) {
            TuningPoint point{
                .variant = variant, .value = value, .by_seed = {}, .complete = true, .mean = {}};
            double sum = 0;
            for (const uint64_t seed : plan.tune_seeds) {
                tuning.runs.push_back(make_run(plan, folder, RunRole::tune, variant, seed, value));
                const RunResult result = result_of(tuning.runs.back());
                if (!result.is_final()) {
                    point.complete = false;
                    continue;
                }
                point.by_seed[seed] = result.outcome;
                point.diverged += result.outcome ? 0 : 1;
                sum += result.outcome.value_or(0);
            }
            if (point.complete && point.diverged == 0)
                point.mean = sum / static_cast<double>(plan.tune_seeds.size());
            tuning.points.push_back(std::move(point));
        }
}

/// The points' best value of each variant; whether one of them lies at an edge.
struct Edges {
    bool low = false, high = false;
};
Edges choose(const SweepPlan& plan, Tuning& tuning) {
    Edges edges;
    tuning.chosen.assign(plan.variants.size(), std::nullopt);
    for (size_t variant = 0; variant < plan.variants.size(); ++variant) {
        TuningPoint* best = nullptr;
        for (TuningPoint& point : tuning.points)
            if (point.variant == variant && point.mean && (!best || *point.mean < *best->mean)) best = &point;
        if (!best) continue; // it may find one lower
        best->chosen = true;
        tuning.chosen[variant] = best->value;
        edges.low |= best->value == tuning.grid.front();
        edges.high |= best->value == tuning.grid.back();
    }
    for (size_t variant = 0; variant < plan.variants.size(); ++variant) edges.low |= !tuning.chosen[variant];
    return edges;
}

/// The next value of a grid that goes on as it ends, without digits of rounding.
double beyond(double last, double before) {
    return std::stod(fmt::format("{:.12g}", last * (last / before)));
}

/// Grows the grid where it has to; false where it stays.
bool extend(Tuning& tuning, const Edges& edges, int& lower, int& higher) {
    const std::vector<double> grid = tuning.grid;
    const bool single = grid.size() == 1;
    const auto count = grid.size();
    bool grown = false;
    if (edges.low && lower < kMostExtensions) {
        ++lower;
        tuning.grid.insert(tuning.grid.begin(), single ? grid[0] / 2 : beyond(grid[0], grid[1]));
        grown = true;
    }
    if (edges.high && higher < kMostExtensions) {
        ++higher;
        tuning.grid.push_back(single ? grid[0] * 2 : beyond(grid[count - 1], grid[count - 2]));
        grown = true;
    }
    return grown;
}

} // namespace

Tuning tuning_so_far(const SweepPlan& plan, const std::string& folder, const ResultOf& result_of) {
    Tuning tuning;
    if (plan.sweep.tune.key.empty()) return tuning;
    tuning.grid = plan.sweep.tune.values;
    std::sort(tuning.grid.begin(), tuning.grid.end());
    tuning.finished = false;
    for (int lower = 0, higher = 0;;) {
        measure(plan, folder, result_of, tuning);
        const bool complete = std::all_of(tuning.points.begin(), tuning.points.end(),
                                          [](const TuningPoint& point) { return point.complete; });
        if (!complete) return tuning;
        const Edges edges = choose(plan, tuning);
        if (extend(tuning, edges, lower, higher)) continue;
        tuning.finished = true;
        for (size_t variant = 0; variant < plan.variants.size(); ++variant) {
            const auto& value = tuning.chosen[variant];
            if (!value)
                tuning.notes.push_back(plan.variants[variant].label + ": diverged at every " +
                                       plan.sweep.tune.key);
            else if (*value == tuning.grid.front() || *value == tuning.grid.back())
                tuning.notes.push_back(fmt::format(
                    "{}: the best {} is the {} one tried, {}", plan.variants[variant].label,
                    plan.sweep.tune.key, *value == tuning.grid.front() ? "smallest" : "largest", *value));
        }
        return tuning;
    }
}

std::vector<PlannedRun> planned_runs(const SweepPlan& plan, const std::string& folder, const Tuning& tuning,
                                     int64_t look) {
    std::vector<PlannedRun> runs = tuning.runs;
    if (!tuning.finished) return runs;
    for (const uint64_t seed : plan.seeds_at(look))
        for (size_t variant = 0; variant < plan.variants.size(); ++variant) {
            const auto tuned = tuning.chosen.empty() ? std::optional<double>() : tuning.chosen[variant];
            if (!tuning.chosen.empty() && !tuned) continue; // diverged at every value
            runs.push_back(make_run(plan, folder, RunRole::judge, variant, seed, tuned));
        }
    return runs;
}

std::string encode_run(const PlannedRun& run) {
    return fmt::format("{} {} {} {}", static_cast<int>(run.role), run.variant, run.seed,
                       run.tuned ? fmt::format("{}", *run.tuned) : "none");
}

PlannedRun decode_run(const SweepPlan& plan, const std::string& folder, const std::string& text) {
    std::istringstream words(text);
    int role = 0;
    size_t variant = 0;
    uint64_t seed = 0;
    std::string tuned;
    words >> role >> variant >> seed >> tuned;
    check(!words.fail() && variant < plan.variants.size(), "\"{}\" is no run of the sweep", text);
    return make_run(plan, folder, static_cast<RunRole>(role), variant, seed,
                    tuned == "none" ? std::optional<double>() : std::stod(tuned));
}

RunConfig run_config(const SweepPlan& plan, const PlannedRun& run) {
    return run_config(plan, plan.variants[run.variant],
                      {.seed = run.seed, .tuned = run.tuned, .run_dir = run.folder});
}

} // namespace braid

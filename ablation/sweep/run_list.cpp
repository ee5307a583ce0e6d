#include "ablation/sweep/run_list.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include "base/config_value.h"

namespace braid {
namespace {

/// Values that each variant has not lost yet, by variant.
using Alive = std::vector<std::vector<double>>;

/// All runs of one seed that may share steps with those that have this value: of all variants and lengths.
std::vector<RunKey> tuning_family(const SweepPlan& plan, double value) {
    std::vector<RunKey> family;
    for (size_t variant = 0; variant < plan.variants.size(); ++variant)
        for (int rung = 0; rung < num_rungs(plan.sweep.tune); ++rung)
            family.push_back({variant, value, rung_steps(plan, variant, rung)});
    return family;
}

void place_on_trunk(const SweepPlan& plan, const std::string& folder, const std::vector<RunKey>& family,
                    Trunks* trunks, PlannedRun& run) {
    if (!trunks) return;
    const Trunks::Place& place = trunks->place(family, run.key);
    if (!place.owner) return;
    run.trunk = make_run(plan, folder, RunRole::trunk, *place.owner, run.seed).id;
    run.trunk_key = *place.owner;
    run.branch_step = place.step;
}

/// All points of a rung, with what is known of them.
std::vector<TuningPoint> measure(const SweepPlan& plan, const std::string& folder, const ResultOf& result_of,
                                 Trunks* trunks, const Alive& alive, int rung,
                                 std::vector<PlannedRun>& runs) {
    std::set<double> values;
    for (const auto& of_variant : alive) values.insert(of_variant.begin(), of_variant.end());
    std::vector<TuningPoint> points;
    for (const double value : values)
        for (size_t variant = 0; variant < plan.variants.size(); ++variant) {
            if (std::find(alive[variant].begin(), alive[variant].end(), value) == alive[variant].end())
                continue;
            TuningPoint point{.variant = variant,
                              .value = value,
                              .steps = rung_steps(plan, variant, rung),
                              .by_seed = {},
                              .complete = true,
                              .mean = {}};
            double sum = 0;
            for (const uint64_t seed : plan.tune_seeds) {
                runs.push_back(make_run(plan, folder, RunRole::tune, {variant, value, point.steps}, seed));
                place_on_trunk(plan, folder, tuning_family(plan, value), trunks, runs.back());
                const RunResult result = result_of(runs.back());
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
            points.push_back(std::move(point));
        }
    return points;
}

bool all_complete(const std::vector<TuningPoint>& points) {
    return std::all_of(points.begin(), points.end(), [](const TuningPoint& point) { return point.complete; });
}

/// The points of a variant that no seed diverged at, the best first; of equals the smaller value.
std::vector<const TuningPoint*> ranking(const std::vector<TuningPoint>& points, size_t variant) {
    std::vector<const TuningPoint*> ranked;
    for (const TuningPoint& point : points)
        if (point.variant == variant && point.mean) ranked.push_back(&point);
    std::stable_sort(ranked.begin(), ranked.end(),
                     [](const TuningPoint* a, const TuningPoint* b) { return *a->mean < *b->mean; });
    return ranked;
}

/// Whether the best value of some variant lies at an edge of the grid; at the lower one, too, where every
/// value diverged.
struct Edges {
    bool low = false, high = false;
};
Edges find_edges(const SweepPlan& plan, const Tuning& tuning) {
    Edges edges;
    for (size_t variant = 0; variant < plan.variants.size(); ++variant) {
        const auto ranked = ranking(tuning.points, variant);
        edges.low |= ranked.empty() || ranked[0]->value == tuning.grid.front();
        edges.high |= !ranked.empty() && ranked[0]->value == tuning.grid.back();
    }
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

/// The values that go on to the next rung: of each variant the better half.
Alive better_half(const SweepPlan& plan, const std::vector<TuningPoint>& points, size_t keep) {
    Alive alive(plan.variants.size());
    for (size_t variant = 0; variant < plan.variants.size(); ++variant)
        for (const TuningPoint* point : ranking(points, variant))
            if (alive[variant].size() < keep) alive[variant].push_back(point->value);
    return alive;
}

/// Takes the best of the last points.
void choose(const SweepPlan& plan, Tuning& tuning, size_t first_point) {
    const std::vector<TuningPoint> last(tuning.points.begin() + static_cast<std::ptrdiff_t>(first_point),
                                        tuning.points.end());
    tuning.chosen.assign(plan.variants.size(), std::nullopt);
    for (size_t variant = 0; variant < plan.variants.size(); ++variant) {
        const auto ranked = ranking(last, variant);
        const std::string& label = plan.variants[variant].label;
        if (ranked.empty()) {
            tuning.notes.push_back(label + ": diverged at every " + plan.sweep.tune.key);
            continue;
        }
        const double value = ranked[0]->value;
        tuning.chosen[variant] = value;
        tuning.points[first_point + static_cast<size_t>(ranked[0] - last.data())].chosen = true;
        if (value == tuning.grid.front() || value == tuning.grid.back())
            tuning.notes.push_back(fmt::format("{}: the best {} is the {} one tried, {}", label,
                                               plan.sweep.tune.key,
                                               value == tuning.grid.front() ? "smallest" : "largest", value));
    }
    tuning.finished = true;
}

} // namespace

Tuning tuning_so_far(const SweepPlan& plan, const std::string& folder, const ResultOf& result_of,
                     Trunks* trunks) {
    Tuning tuning;
    if (plan.sweep.tune.key.empty()) return tuning;
    tuning.grid = plan.sweep.tune.values;
    std::sort(tuning.grid.begin(), tuning.grid.end());
    tuning.finished = false;
    for (int lower = 0, higher = 0;;) {
        tuning.runs.clear();
        const Alive all(plan.variants.size(), tuning.grid);
        tuning.points = measure(plan, folder, result_of, trunks, all, 0, tuning.runs);
        if (!all_complete(tuning.points)) return tuning;
        if (!extend(tuning, find_edges(plan, tuning), lower, higher)) break;
    }
    size_t first_point = 0, keep = plan.sweep.tune.values.size();
    for (int rung = 1; rung < num_rungs(plan.sweep.tune); ++rung) {
        keep = (keep + 1) / 2;
        const std::vector<TuningPoint> before(
            tuning.points.begin() + static_cast<std::ptrdiff_t>(first_point), tuning.points.end());
        first_point = tuning.points.size();
        const auto points =
            measure(plan, folder, result_of, trunks, better_half(plan, before, keep), rung, tuning.runs);
        tuning.points.insert(tuning.points.end(), points.begin(), points.end());
        if (!all_complete(points)) return tuning;
    }
    choose(plan, tuning, first_point);
    return tuning;
}

namespace {

/// Puts a trunk that goes as far as needed before the first run that leaves it there, with a stop wherever
/// another run leaves it before: what has grown further does not save an earlier step any more.
std::vector<PlannedRun> with_trunks(const SweepPlan& plan, const std::string& folder,
                                    const std::vector<PlannedRun>& runs) {
    std::vector<PlannedRun> all;
    std::map<std::string, std::set<int64_t>> stops; // of each trunk, not yet in the list
    for (const PlannedRun& run : runs)
        if (!run.trunk.empty()) stops[run.trunk].insert(run.branch_step);
    for (const PlannedRun& run : runs) {
        for (auto& left = stops[run.trunk]; !left.empty() && *left.begin() <= run.branch_step;) {
            PlannedRun trunk = make_run(plan, folder, RunRole::trunk, run.trunk_key, run.seed);
            trunk.stop_at = *left.begin();
            left.erase(left.begin());
            all.push_back(std::move(trunk));
        }
        all.push_back(run);
    }
    return all;
}

} // namespace

std::vector<PlannedRun> planned_runs(const SweepPlan& plan, const std::string& folder, const Tuning& tuning,
                                     int64_t look, Trunks* trunks) {
    std::vector<PlannedRun> runs = tuning.runs;
    if (!tuning.finished) return with_trunks(plan, folder, runs);
    std::vector<RunKey> family;
    for (size_t variant = 0; variant < plan.variants.size(); ++variant) {
        const auto tuned = tuning.chosen.empty() ? std::optional<double>() : tuning.chosen[variant];
        if (!tuning.chosen.empty() && !tuned) continue; // diverged at every value
        family.push_back({variant, tuned, 0});
    }
    for (const uint64_t seed : plan.seeds_at(look))
        for (const RunKey& key : family) {
            runs.push_back(make_run(plan, folder, RunRole::judge, key, seed));
            place_on_trunk(plan, folder, family, trunks, runs.back());
        }
    return with_trunks(plan, folder, runs);
}

} // namespace braid

#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "ablation/plan/plan.h"
#include "ablation/sweep/run_result.h"

namespace braid {

enum class RunRole { tune, judge };
constexpr auto enum_names(RunRole) {
    return std::array<std::string_view, 2>{"tune", "judge"};
}

struct PlannedRun {
    RunRole role = RunRole::judge;
    size_t variant = 0; // of the plan
    uint64_t seed = 0;
    std::optional<double> tuned;
    std::string id;     // its folder below sweeps/NAME, as runs/placement-post_s1234
    std::string folder; // with sweeps/NAME
};

/// The outcome of a run by its folder.
using ResultOf = std::function<RunResult(const PlannedRun&)>;

/// One value of the tuned key for one variant.
struct TuningPoint {
    size_t variant = 0;
    double value = 0;
    std::map<uint64_t, std::optional<double>> by_seed; // none: diverged
    bool complete = false;                             // all its runs are final
    int64_t diverged = 0;
    std::optional<double> mean; // where no seed diverged and all are final
    bool chosen = false;
};

/// What tuning has come to.
struct Tuning {
    std::vector<double> grid; // ascending, with what it was extended by
    std::vector<TuningPoint> points;
    std::vector<PlannedRun> runs;
    std::vector<std::optional<double>> chosen; // of each variant, none where every value diverged
    bool finished = true;                      // also where nothing is tuned
    std::vector<std::string> notes;
};

/// Every variant gets the same grid. While the best value of some variant lies at an edge, the grid grows by
/// a further value there, for all variants, kMostExtensions times at most on each side. A value counts only
/// if no seed diverged with it; of values with one mean the smaller is taken.
Tuning tuning_so_far(const SweepPlan& plan, const std::string& folder, const ResultOf& result_of);
inline constexpr int kMostExtensions = 4;

/// All runs that can be named by now: those that tune, and behind the last of them those that judge at looks
/// 1 to `look`, all variants of a seed before the next seed.
std::vector<PlannedRun> planned_runs(const SweepPlan& plan, const std::string& folder, const Tuning& tuning,
                                     int64_t look);

/// A run as text and back, for ranks that have not looked at the files.
std::string encode_run(const PlannedRun& run);
PlannedRun decode_run(const SweepPlan& plan, const std::string& folder, const std::string& text);

/// The run file of a planned run.
RunConfig run_config(const SweepPlan& plan, const PlannedRun& run);

} // namespace braid

#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "ablation/sweep/planned_run.h"
#include "ablation/sweep/run_result.h"
#include "ablation/sweep/trunks.h"

namespace braid {

/// The outcome of a run by its folder.
using ResultOf = std::function<RunResult(const PlannedRun&)>;

/// One value of the tuned key for one variant.
struct TuningPoint {
    size_t variant = 0;
    double value = 0;
    int64_t steps = 0; // of its runs, where they are shorter than those that judge; 0: they are not
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
///
/// By halving (successive halving: Jamieson and Talwalkar, 2016, arXiv:1502.07943) that is so for short runs,
/// whose learning rate decays to its end too; of each variant the better half of the values is tried again in
/// runs twice as long, until two are left for whole runs.
Tuning tuning_so_far(const SweepPlan& plan, const std::string& folder, const ResultOf& result_of,
                     Trunks* trunks = nullptr);
inline constexpr int kMostExtensions = 4;

/// All runs that can be named by now: those that tune, and behind the last of them those that judge at looks
/// 1 to `look`, all variants of a seed before the next seed. Before the first run that needs it comes a
/// trunk.
std::vector<PlannedRun> planned_runs(const SweepPlan& plan, const std::string& folder, const Tuning& tuning,
                                     int64_t look, Trunks* trunks = nullptr);

} // namespace braid

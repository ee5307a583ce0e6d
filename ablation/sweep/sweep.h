#pragma once

#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "ablation/plan/plan.h"
#include "ablation/sweep/run_list.h"
#include "ablation/sweep/sweep_folder.h"
#include "parallel/communicator.h"
#include "trainer/run/run.h"

namespace braid {

struct SweepRequest {
    SweepPlan plan;
    std::string folder;                          // sweeps/NAME
    int64_t look = 1;                            // seeds of looks 1 to this one are run
    std::optional<size_t> only;                  // this run of planned_runs() alone, from 0
    bool shared = false;                         // other groups of this job work on the sweep too
    bool accept_change = false;                  // a plan that was changed after its first start
    TrainRequest train;                          // what all runs share; its config is left out
    std::function<void(const std::string&)> say; // a line for the user; called on rank 0
};

/// Runs what is missing of a sweep, one run after another, on the ranks of `group`; several groups, and
/// several jobs, may work on one sweep, each taking the next run that nobody has. Returns when nothing is
/// left to do and nobody else is at work: ok when all runs ended or diverged, else the code of the first that
/// failed, after the others have run; stopped (75) after saving because a stop was requested. After each run
/// table.csv and verdict.json say what is known by then. Collective.
ExitCode run_sweep(const SweepRequest& request, Communicator& group);

/// What the files of a sweep say by now.
class SweepResults {
  public:
    SweepResults(const SweepPlan& plan, std::string folder)
        : plan_(plan), folder_(std::move(folder)), trunks_(plan) {}

    /// Read once where it is final, else each time. A run whose trunk diverged before it left it has
    /// diverged.
    RunResult of(const PlannedRun& run);
    /// A metric over the steps of a run, those of its trunk included.
    std::vector<std::pair<int64_t, double>> curve(const PlannedRun& run, const std::string& metric) const;
    Tuning tuning();
    std::vector<PlannedRun> runs(int64_t look) {
        return planned_runs(plan_, folder_, tuning(), look, &trunks_);
    }

  private:
    const SweepPlan& plan_;
    const std::string folder_;
    Trunks trunks_;
    std::map<std::string, RunResult> final_;
};

/// A line for each run: its number for `only`, its state, its outcome, its folder.
std::string list_runs(const SweepPlan& plan, SweepResults& results, int64_t look);
/// A row for each variant, a column for each seed that judges.
std::string results_table(const SweepPlan& plan, SweepResults& results, int64_t look);
/// The same of all runs for other programs, comma-separated.
std::string results_csv(const SweepPlan& plan, SweepResults& results, int64_t look);

} // namespace braid

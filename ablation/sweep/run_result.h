#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "ablation/plan/sweep_config.h"

namespace braid {

enum class RunState {
    missing,    // never started
    unfinished, // stopped, killed, or at work just now
    ended,
    diverged, // ended by numbers that are not finite (exit 5): a result
    failed,   // ended by another error
};
constexpr auto enum_names(RunState) {
    return std::array<std::string_view, 5>{"missing", "unfinished", "ended", "diverged", "failed"};
}

/// What a run folder says of its run.
struct RunResult {
    RunState state = RunState::missing;
    std::optional<double> outcome; // of a run that ended
    int64_t step = 0;              // done so far
    int64_t tokens = 0;
    double flops = 0, hours = 0; // of all starts together
    int exit_code = 0;           // of the last start that ended
    bool came_to_end = false;    // it ended by itself, with exit code 0

    bool is_final() const { return state == RunState::ended || state == RunState::diverged; }
};

/// The steps of another run, up to `step`, that a run goes on from.
struct TrunkPart {
    std::string folder; // empty: none
    int64_t step = 0;
};

/// Reads `folder`; a run of `steps` steps has ended when it is there. A run whose outcome is not a number has
/// diverged. ConfigError for a folder whose files are not those of a run, or without the metric.
RunResult read_run_result(const std::string& folder, const OutcomeConfig& outcome, int64_t steps,
                          const TrunkPart& trunk = {});
/// The same of a trunk, which has ended for those that leave it at step `stop_at` when it has saved that
/// step.
RunResult read_trunk_result(const std::string& folder, int64_t stop_at);

/// A metric over the steps that have it; what is no number is left out.
std::vector<std::pair<int64_t, double>> metric_curve(const std::string& folder, const std::string& metric,
                                                     const TrunkPart& trunk = {});

/// Another metric of such a run, at its last step that has it.
std::optional<double> last_metric(const std::string& folder, const std::string& metric);

} // namespace braid

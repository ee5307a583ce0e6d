#pragma once

#include <algorithm>
#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <vector>

#include "ablation/statistics/analysis.h"
#include "ablation/sweep/sweep.h"

namespace braid {

/// All that the blocks of the file are made from.
struct Judged {
    const SweepPlan& plan;
    SweepResults& results;
    const std::vector<uint64_t> seeds; // of the look
    const std::vector<PlannedRun> runs;
    const Tuning tuning;

    std::optional<PlannedRun> judging_run(size_t variant, uint64_t seed) const {
        const auto found = std::find_if(runs.begin(), runs.end(), [&](const PlannedRun& run) {
            return run.role == RunRole::judge && run.key.variant == variant && run.seed == seed;
        });
        return found == runs.end() ? std::nullopt : std::optional(*found);
    }
    bool diverged_in_tuning(size_t variant) const {
        return tuning.finished && !tuning.chosen.empty() && !tuning.chosen[variant];
    }
    JudgeOptions options() const;
};

/// Model FLOPs of a whole run.
inline double flops_of(const Variant& variant) {
    return variant.size.flops_per_token * variant.tokens;
}

nlohmann::ordered_json to_json(const Difference& difference, const SweepPlan& plan);

/// The same runs judged in other ways, each {title, variants}: at equal FLOPs, at neighbouring values of the
/// tuned key. Empty where there is none.
nlohmann::ordered_json other_views(const Judged& judged);

} // namespace braid

#pragma once

#include <string>

#include "ablation/sweep/sweep.h"

namespace braid {

/// For `--dry-run`: the runs, the size of each variant, FLOPs, hours, and the smallest difference that the
/// plan can show. Hours are those of runs that have ended, per FLOP; without any, of a guess that says what
/// it is of. The noise is that of judged runs that have ended; without any, differences are in units of it.
std::string describe_plan(const SweepPlan& plan, SweepResults& results, int64_t look);

/// What a user does next when run_sweep has returned.
std::string closing_words(const SweepPlan& plan, SweepResults& results, const std::string& folder,
                          int64_t look);

} // namespace braid

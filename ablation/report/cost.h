#pragma once

#include "ablation/report/report.h"

namespace braid::report {

/// Ranks times the hours they were held.
struct RankHours {
    double steps = 0; // of steps that count, without start-up, evaluations and steps that were made again
    double all = 0;   // of all starts from begin to end; as `steps` where run.json does not tell
    RankHours& operator+=(const RankHours& other);
};

RankHours rank_hours(const RunData& run);
/// {"rank_hours", "step_rank_hours"} and, with a price above 0, "money" of all rank-hours.
Json cost_of(const RankHours& hours, double price);
/// The totals, "variants" with their runs, and of a sweep "tuning" and, where runs share steps, "trunks",
/// which belong to no variant; the totals hold all of it. `data` are the groups and runs of the page.
Json cost_json(const Report& report, const Json& data, double price);

} // namespace braid::report

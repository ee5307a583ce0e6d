#pragma once

#include <nlohmann/json_fwd.hpp>

#include "ablation/sweep/sweep.h"

namespace braid {

/// verdict.json of a sweep: what is known by now, judged at `look`. docs/verdicts.md says how; docs/report.md
/// what its fields are.
nlohmann::ordered_json verdict_json(const SweepPlan& plan, const SweepFolder& folder, SweepResults& results,
                                    int64_t look);

} // namespace braid

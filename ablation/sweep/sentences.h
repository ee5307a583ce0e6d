#pragma once

#include <string>

#include "ablation/plan/plan.h"
#include "ablation/statistics/analysis.h"

namespace braid {

/// "nats per token" of a loss, "bits per byte".
std::string unit_of(const std::string& metric);

/// A verdict in words: "better: -0.031 nats per token (-0.047 to -0.015)".
std::string sentence_of(const Difference& difference, const SweepPlan& plan);

} // namespace braid

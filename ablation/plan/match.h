#pragma once

#include <functional>

#include "ablation/plan/plan.h"

namespace braid {

/// The whole number, a multiple of match.multiple_of, whose quantity comes nearest to the reference's;
/// `size_with` gives the size of the variant with a value of match.adjust, and `from` is where to look first.
/// Quantities must grow with the number. ConfigError where the nearest is further away than match.tolerance,
/// naming both neighbours.
Adjustment solve_match(const MatchConfig& match, const ModelSize& reference, int64_t from,
                       const std::function<ModelSize(int64_t)>& size_with, const std::string& variant);

} // namespace braid

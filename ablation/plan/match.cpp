#include "ablation/plan/match.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"

namespace braid {
namespace {

constexpr int64_t kLargest = int64_t{1} << 30;

double quantity_of(MatchQuantity quantity, const ModelSize& size) {
    return quantity == MatchQuantity::flops ? size.flops_per_token
                                            : static_cast<double>(size.active_parameters);
}

} // namespace

Adjustment solve_match(const MatchConfig& match, const ModelSize& reference, int64_t from,
                       const std::function<ModelSize(int64_t)>& size_with, const std::string& variant) {
    const double wanted = quantity_of(match.quantity, reference);
    const auto relative = [&](int64_t value) {
        return quantity_of(match.quantity, size_with(value)) / wanted - 1;
    };
    const int64_t step = match.multiple_of;
    // In multiples of step: `low` has too little or is the least, `high` enough.
    int64_t low = 1, high = std::max<int64_t>(1, from / step);
    while (high * step < kLargest && relative(high * step) < 0) {
        low = high;
        high *= 2;
    }
    while (high - low > 1) {
        const int64_t middle = low + (high - low) / 2;
        (relative(middle * step) < 0 ? low : high) = middle;
    }
    const double below = relative(low * step), above = relative(high * step);
    const bool is_low = std::abs(below) <= std::abs(above);
    const Adjustment nearest{match.adjust, (is_low ? low : high) * step, is_low ? below : above};
    if (std::abs(nearest.residue) <= match.tolerance) return nearest;
    throw ConfigError(
        "match: {}: no value of {} gives {} within {:.3g}% of the reference's {:.0f}; nearest: {} ({:+.2f}%) "
        "and "
        "{} ({:+.2f}%)",
        variant, match.adjust, to_string(match.quantity), 100 * match.tolerance, wanted, low * step,
        100 * below, high * step, 100 * above);
}

} // namespace braid

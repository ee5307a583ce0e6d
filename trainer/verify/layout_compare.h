#pragma once

#include <fmt/core.h>

#include <string>
#include <string_view>
#include <vector>

#include "trainer/verify/layout_run.h"

namespace braid {

/// What two layouts may differ by in f64.
constexpr double kParityBound = 1e-12;

/// The largest error of a tensor or number: max |a - b| / max(max |b|, 1e-3 R), R the root mean square of all
/// tensors of its kind (gradients, updates, buffers). Where Adam makes more of a gradient's difference than
/// that (tiny gradients, divided by eps), the error of updates is divided by how much more.
/// Of the update of a tensor under Muon what its gradient's difference explains (matrix_slopes times its
/// Frobenius norm) is not counted, and nothing is divided.
/// An update shows in stored parameters p only: of its difference, unit_roundoff |p| is not counted, where
/// `a` was computed in a coarser precision than `b`.
struct LayoutDifference {
    double error = 0;
    std::string where; // the tensor or number, with its step
    // The largest error of reported_updates, which takes no part in `error`: where eps is smaller than the
    // rounding of a gradient, the update of that gradient is noise.
    double reported_error = 0;

    void set(double new_error, std::string_view name, size_t step) {
        error = new_error;
        where = fmt::format("{}, step {}", name, step + 1);
    }
};
LayoutDifference compare(const std::vector<LayoutStep>& a, const std::vector<LayoutStep>& b,
                         double unit_roundoff = 0);

} // namespace braid

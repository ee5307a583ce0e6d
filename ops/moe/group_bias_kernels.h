#pragma once

#include "ops/on_device.h"

namespace braid::ops::cpu {

// Shapes as in ops/moe/group_bias.h.

/// y[r] = x[r] + b_e in the columns from first on, y packed.
void add_group_bias(const Tensor& x, const Tensor& b, const Tensor& offsets, int64_t first, const Tensor& y);
/// db_e += the sum over the rows r of e of dy[r] from column first on, in the order of rows.
void group_bias_gradient(const Tensor& dy, const Tensor& offsets, int64_t first, const Tensor& db);

} // namespace braid::ops::cpu

namespace braid::ops {

BRAID_KERNEL(add_group_bias)
BRAID_KERNEL(group_bias_gradient)

} // namespace braid::ops

#pragma once

#include "ops/on_device.h"

namespace braid::ops::cpu {

void batched_matmul(const Tensor& a, const Tensor& b, bool transpose_a, bool transpose_b, const Tensor& y);
void lower_triangle(const Tensor& x, bool strict, const Tensor& y);
/// y with (I + L) y = b, or (I + L)ᵀ y = b.
void solve_unit_lower(const Tensor& a, const Tensor& b, bool transposed, const Tensor& y);
/// da = -d cᵀ below the diagonal, zeros elsewhere: [B, n, n] from d, c [B, n, m].
void solve_unit_lower_gradient(const Tensor& d, const Tensor& c, const Tensor& da);

} // namespace braid::ops::cpu

namespace braid::ops {

BRAID_KERNEL(batched_matmul)
BRAID_KERNEL(lower_triangle)
BRAID_KERNEL(solve_unit_lower)
BRAID_KERNEL(solve_unit_lower_gradient)

} // namespace braid::ops

#pragma once

#include "tensor/tape.h"

namespace braid::ops {

// Functions of many small matrices at once: x [B, m, n], f32, f64 or bf16 (sums in f32, rounded once).
// Dimension 0 of inputs may be strided; results are packed.

/// op(a_i) op(b_i) for each i: op(X) is Xᵀ where the flag says so.
Tensor batched_matmul(Context& ctx, const Tensor& a, const Tensor& b, bool transpose_a = false,
                      bool transpose_b = false);
/// The entries of square matrices on and below the diagonal, or with `strict` below it; zeros elsewhere.
Tensor lower_triangle(Context& ctx, const Tensor& x, bool strict = false);
/// tril(a_i) b_i: a masked product, as causal attention without a softmax has it.
Tensor lower_triangular_matmul(Context& ctx, const Tensor& a, const Tensor& b);
/// y with (I + L_i) y_i = b_i, L_i what stands below the diagonal of a_i [n, n]; of a nothing else counts.
Tensor solve_unit_lower(Context& ctx, const Tensor& a, const Tensor& b);

} // namespace braid::ops

#pragma once

#include "tensor/parameters/parameter.h"
#include "tensor/tape.h"

namespace braid::ops {

// Functions of single elements, f32, f64 or bf16 (computed in f32 and rounded once). Rows of inputs may be
// strided; results are packed.

/// a b, of equal shapes and dtypes.
Tensor multiply(Context& ctx, const Tensor& a, const Tensor& b);
/// e^x.
Tensor exp(Context& ctx, const Tensor& x);
/// The natural logarithm.
Tensor log(Context& ctx, const Tensor& x);
/// log(1 + e^x).
Tensor softplus(Context& ctx, const Tensor& x);
/// x [..., d] with every row multiplied by its factor [...]: a factor per head and token, or per token.
Tensor multiply_rows(Context& ctx, const Tensor& x, const Tensor& factor);
/// x [T, H, d] with every head multiplied by its weight, w [H].
Tensor scale_heads(Context& ctx, const Tensor& x, const Parameter* w);
/// The sums of rows: x [..., d] -> [...].
Tensor sum_columns(Context& ctx, const Tensor& x);

} // namespace braid::ops

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
/// x kept within [low, high]; what lies outside has no gradient.
Tensor clamp(Context& ctx, const Tensor& x, double low, double high);
/// x [..., d] with every row multiplied by its factor [...]: a factor per head and token, or per token.
Tensor multiply_rows(Context& ctx, const Tensor& x, const Tensor& factor);
/// A parameter as a value: what is computed from it gives it its gradient. f32 beside tensors in bf16.
Tensor value_of(Context& ctx, const Parameter* w);
/// x [T, H, d] with every head multiplied by its factor, w [H] in the dtype that sums of x are made in.
Tensor scale_heads(Context& ctx, const Tensor& x, const Tensor& w);
/// x [T, n] with b [n], in the dtype that sums of x are made in, added to every row.
Tensor add_vector(Context& ctx, const Tensor& x, const Tensor& b);
/// The sums of rows: x [..., d] -> [...].
Tensor sum_columns(Context& ctx, const Tensor& x);

} // namespace braid::ops

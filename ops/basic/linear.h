#pragma once

#include "tensor/parameters/parameter.h"
#include "tensor/tape.h"

namespace braid::ops {

/// y = x Wᵀ: x [T, in], w [out, in], y [T, out]. x, y and their gradients have the dtype of w's
/// compute_value(); with bf16, sums are f32, y and dx are rounded once, and dw is f32.
Tensor linear(Context& ctx, const Tensor& x, const Parameter* w);

} // namespace braid::ops

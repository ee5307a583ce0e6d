#pragma once

#include "tensor/tape.h"

namespace braid::ops {

/// y = x (sum x² + eps)^-1/2 over the last dimension d of x [T, H, d]: unit length per token and head. (eps
/// joins the sum of squares, not their mean.) Saved for backward: y and the factor [T, H], which is
/// f32 for x in bf16.
Tensor l2_norm(Context& ctx, const Tensor& x, double eps = 1e-6);

} // namespace braid::ops

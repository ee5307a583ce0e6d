#pragma once

#include "tensor/parameters/parameter.h"
#include "tensor/tape.h"

namespace braid::ops {

/// x [T, n] with b [n] added to every row. x is f32, f64 or bf16 and may have strided rows; b is f32 beside
/// bf16, and each sum is rounded once.
Tensor add_bias(Context& ctx, const Tensor& x, const Parameter* b);

} // namespace braid::ops

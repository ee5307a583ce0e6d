#pragma once

#include "tensor/parameter.h"
#include "tensor/tape.h"

namespace braid::ops {

/// y = x Wᵀ: x [T, in], w [out, in], y [T, out].
Tensor linear(Context& ctx, const Tensor& x, const Parameter* w);

} // namespace braid::ops

#pragma once

#include "tensor/tape.h"

namespace braid::ops {

/// a + b, of equal shapes.
Tensor add(Context& ctx, const Tensor& a, const Tensor& b);
/// factor * x.
Tensor scale(Context& ctx, const Tensor& x, double factor);

} // namespace braid::ops

#pragma once

#include "tensor/tape.h"

namespace braid::ops {

/// a + b, of equal shapes and dtypes.
Tensor add(Context& ctx, const Tensor& a, const Tensor& b);
/// factor * x.
Tensor scale(Context& ctx, const Tensor& x, double factor);
/// x in another floating dtype, rounded to nearest; the gradient is rounded back to x's. x itself if it has
/// the dtype.
Tensor cast(Context& ctx, const Tensor& x, DType dtype);

} // namespace braid::ops

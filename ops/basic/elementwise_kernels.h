#pragma once

#include "ops/on_device.h"
#include "tensor/tensor.h"

namespace braid::ops::cpu {

/// y = a + b; y is packed, a and b may have strided rows.
void add(const Tensor& a, const Tensor& b, const Tensor& y);
/// y = factor * x; y is packed, x may have strided rows.
void scale(const Tensor& x, double factor, const Tensor& y);
/// y = x in y's dtype, rounded to nearest; y is packed, x may have strided rows.
void cast(const Tensor& x, const Tensor& y);

} // namespace braid::ops::cpu

namespace braid::ops {

BRAID_KERNEL(add)
BRAID_KERNEL(scale)
BRAID_KERNEL(cast)

} // namespace braid::ops

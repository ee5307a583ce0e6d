#pragma once

#include "ops/on_device.h"
#include "tensor/tensor.h"

namespace braid::ops::cpu {

/// y [T, H, d] packed and inverse_norm [T, H] from x [T, H, d].
void l2_norm(const Tensor& x, double eps, const Tensor& y, const Tensor& inverse_norm);
/// dx = r (dy - y <dy, y>) with r the inverse norm; exact whatever eps was.
void l2_norm_gradient(const Tensor& y, const Tensor& inverse_norm, const Tensor& dy, const Tensor& dx);

} // namespace braid::ops::cpu

namespace braid::ops {

BRAID_KERNEL(l2_norm)
BRAID_KERNEL(l2_norm_gradient)

} // namespace braid::ops

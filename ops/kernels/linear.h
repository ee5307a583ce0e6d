#pragma once

#include "ops/kernels/on_device.h"
#include "tensor/tensor.h"

namespace braid::ops::cpu {

/// y = x wᵀ: x [T, in], w [out, in], y [T, out].
void linear(const Tensor& x, const Tensor& w, const Tensor& y);
/// dx = dy w.
void linear_data_gradient(const Tensor& dy, const Tensor& w, const Tensor& dx);
/// dw += dyᵀ x.
void linear_weight_gradient(const Tensor& dy, const Tensor& x, const Tensor& dw);

} // namespace braid::ops::cpu

namespace braid::ops {

BRAID_KERNEL(linear)
BRAID_KERNEL(linear_data_gradient)
BRAID_KERNEL(linear_weight_gradient)

} // namespace braid::ops

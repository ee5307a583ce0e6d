#pragma once

#include "ops/on_device.h"
#include "tensor/parameters/parameter.h"

namespace braid::ops::cpu {

// The weights are w.compute_value(), of the dtype of x, y and their gradients.

/// y = x wᵀ: x [T, in], w [out, in], y [T, out].
void linear(const Tensor& x, const Parameter& w, const Tensor& y);
/// dx = dy w.
void linear_data_gradient(const Tensor& dy, const Parameter& w, const Tensor& dx);
/// dw += dyᵀ x; dw is f32 where the others are bf16.
void linear_weight_gradient(const Tensor& dy, const Tensor& x, const Tensor& dw);

} // namespace braid::ops::cpu

namespace braid::ops {

BRAID_KERNEL(linear)
BRAID_KERNEL(linear_data_gradient)
BRAID_KERNEL(linear_weight_gradient)

} // namespace braid::ops

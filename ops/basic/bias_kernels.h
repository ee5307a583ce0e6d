#pragma once

#include "ops/on_device.h"

namespace braid::ops::cpu {

/// y[t] = x[t] + b, y packed.
void add_bias(const Tensor& x, const Tensor& b, const Tensor& y);
/// db += the sum over rows of dy.
void bias_gradient(const Tensor& dy, const Tensor& db);

} // namespace braid::ops::cpu

namespace braid::ops {

BRAID_KERNEL(add_bias)
BRAID_KERNEL(bias_gradient)

} // namespace braid::ops

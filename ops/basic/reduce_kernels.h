#pragma once

#include "ops/on_device.h"
#include "tensor/tensor.h"

namespace braid::ops::cpu {

// Into f64 [1].

void sum_of_squares(const Tensor& x, const Tensor& sum);
void max_abs(const Tensor& x, const Tensor& largest);

} // namespace braid::ops::cpu

namespace braid::ops {

BRAID_KERNEL(sum_of_squares)
BRAID_KERNEL(max_abs)

} // namespace braid::ops

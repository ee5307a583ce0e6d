#pragma once

#include "ops/kernels/on_device.h"
#include "tensor/tensor.h"

namespace braid::ops::cpu {

double sum_of_squares(const Tensor& x);
double max_abs(const Tensor& x);

} // namespace braid::ops::cpu

namespace braid::ops {

BRAID_KERNEL(sum_of_squares)
BRAID_KERNEL(max_abs)

} // namespace braid::ops

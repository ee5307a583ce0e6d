#pragma once

#include "tensor/tensor.h"

namespace braid::ops::cpu {

double sum_of_squares(const Tensor& x);
double max_abs(const Tensor& x);

} // namespace braid::ops::cpu

#pragma once

#include "tensor/tensor.h"

namespace braid::cuda {

/// keys i32 [n] ascending, equal ones in their order: sorted [n] the keys, order i32 [n] where each stood.
void stable_sort(const Tensor& keys, const Tensor& sorted, const Tensor& order);

} // namespace braid::cuda

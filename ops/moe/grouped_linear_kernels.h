#pragma once

#include "ops/on_device.h"
#include "tensor/parameters/parameter.h"

namespace braid::ops::cpu {

// Shapes as in ops/moe/grouped_linear.h, dtypes as in linear_kernels.h. Each element is summed by one thread
// in one order, whatever the number of threads.

/// y[r] = x[r] w_eᵀ.
void grouped_linear(const Tensor& x, const Parameter& w, const Tensor& offsets, const Tensor& y);
/// dx[r] = dy[r] w_e.
void grouped_linear_data_gradient(const Tensor& dy, const Parameter& w, const Tensor& offsets,
                                  const Tensor& dx);
/// dw_e += sum over the rows r of e of dy[r]ᵀ x[r].
void grouped_linear_weight_gradient(const Tensor& dy, const Tensor& x, const Tensor& offsets,
                                    const Tensor& dw);

} // namespace braid::ops::cpu

namespace braid::ops {

BRAID_KERNEL(grouped_linear)
BRAID_KERNEL(grouped_linear_data_gradient)
BRAID_KERNEL(grouped_linear_weight_gradient)

} // namespace braid::ops

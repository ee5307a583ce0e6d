#pragma once

#include "ops/on_device.h"
#include "tensor/tensor.h"

namespace braid::ops {

struct SplitNorm {
    int64_t width;
    double eps;
    bool zero_centered;
};

} // namespace braid::ops

namespace braid::ops::cpu {

// Shapes as in ops/basic/split_norm.h.

void row_squares(const Tensor& x, const Tensor& squares);
/// dx = 2 x dsquares.
void row_squares_gradient(const Tensor& x, const Tensor& dsquares, const Tensor& dx);

void rms_norm_given_squares(const Tensor& x, const Tensor& squares, const Tensor& w, const SplitNorm& norm,
                            const Tensor& y);
void rms_norm_given_squares_data_gradient(const Tensor& dy, const Tensor& x, const Tensor& squares,
                                          const Tensor& w, const SplitNorm& norm, const Tensor& dx,
                                          const Tensor& dsquares);
/// dw += sum over rows of dy ⊙ x / sqrt(squares / width + eps).
void rms_norm_given_squares_weight_gradient(const Tensor& dy, const Tensor& x, const Tensor& squares,
                                            const SplitNorm& norm, const Tensor& dw);

} // namespace braid::ops::cpu

namespace braid::ops {

BRAID_KERNEL(row_squares)
BRAID_KERNEL(row_squares_gradient)
BRAID_KERNEL(rms_norm_given_squares)
BRAID_KERNEL(rms_norm_given_squares_data_gradient)
BRAID_KERNEL(rms_norm_given_squares_weight_gradient)

} // namespace braid::ops

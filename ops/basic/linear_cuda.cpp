#include "ops/basic/linear_kernels.h"

#include "ops/cuda/gemm.h"

namespace braid::ops::cuda {

void linear(const Tensor& x, const Parameter& w, const Tensor& y) {
    gemm(y, false, true, 1, matrix_of(x), matrix_of(w.compute_value()), 0, matrix_of(y));
}

void linear_data_gradient(const Tensor& dy, const Parameter& w, const Tensor& dx) {
    gemm(dx, false, false, 1, matrix_of(dy), matrix_of(w.compute_value()), 0, matrix_of(dx));
}

void linear_weight_gradient(const Tensor& dy, const Tensor& x, const Tensor& dw) {
    gemm(dw, true, false, 1, matrix_of(dy), matrix_of(x), 1, matrix_of(dw));
}

} // namespace braid::ops::cuda

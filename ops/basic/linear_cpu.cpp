#include "ops/basic/linear_kernels.h"

#include <array>

#include "ops/cpu/gemm.h"
#include "ops/cpu/weights.h"

namespace braid::ops::cpu {
namespace {

/// All rows of x as one group.
std::array<int64_t, 2> one_group(const Tensor& x) {
    return {0, x.dim(0)};
}

} // namespace

void linear(const Tensor& x, const Parameter& w, const Tensor& y) {
    if (uses_onednn(x)) return multiply_packed(x, packed_transposed_weights(w), one_group(x), y);
    const Tensor in = widened(x), weights = widened_weights(w);
    const Rounded out(y);
    dispatch_float(in.dtype(), [&]<typename T>() {
        gemm<T>(false, true, in.dim(0), weights.dim(0), weights.dim(1), 1, in.data<T>(), in.row_stride(),
                weights.data<T>(), weights.row_stride(), 0, out.data<T>(), weights.dim(0));
    });
}

void linear_data_gradient(const Tensor& dy, const Parameter& w, const Tensor& dx) {
    if (uses_onednn(dy)) return multiply_packed(dy, packed_weights(w), one_group(dy), dx);
    const Tensor grad = widened(dy), weights = widened_weights(w);
    const Rounded out(dx);
    dispatch_float(grad.dtype(), [&]<typename T>() {
        gemm<T>(false, false, grad.dim(0), weights.dim(1), weights.dim(0), 1, grad.data<T>(),
                grad.row_stride(), weights.data<T>(), weights.row_stride(), 0, out.data<T>(), weights.dim(1));
    });
}

void linear_weight_gradient(const Tensor& dy, const Tensor& x, const Tensor& dw) {
    if (uses_onednn(x)) return add_outer_products(dy, x, one_group(x), dw);
    const Tensor grad = widened(dy), in = widened(x);
    dispatch_float(dw.dtype(), [&]<typename T>() {
        gemm<T>(true, false, grad.dim(1), in.dim(1), in.dim(0), 1, grad.data<T>(), grad.row_stride(),
                in.data<T>(), in.row_stride(), 1, dw.data<T>(), dw.row_stride());
    });
}

} // namespace braid::ops::cpu

#include "ops/kernels/linear.h"

#include "ops/cpu/gemm.h"

namespace braid::ops::cpu {

void linear(const Tensor& x, const Tensor& w, const Tensor& y) {
    dispatch_float(y.dtype(), [&]<typename T>() {
        gemm<T>(false, true, x.dim(0), w.dim(0), w.dim(1), 1, x.data<T>(), x.row_stride(), w.data<T>(),
                w.row_stride(), 0, y.data<T>(), y.row_stride());
    });
}

void linear_data_gradient(const Tensor& dy, const Tensor& w, const Tensor& dx) {
    dispatch_float(dx.dtype(), [&]<typename T>() {
        gemm<T>(false, false, dy.dim(0), w.dim(1), w.dim(0), 1, dy.data<T>(), dy.row_stride(), w.data<T>(),
                w.row_stride(), 0, dx.data<T>(), dx.row_stride());
    });
}

void linear_weight_gradient(const Tensor& dy, const Tensor& x, const Tensor& dw) {
    dispatch_float(dw.dtype(), [&]<typename T>() {
        gemm<T>(true, false, dy.dim(1), x.dim(1), x.dim(0), 1, dy.data<T>(), dy.row_stride(), x.data<T>(),
                x.row_stride(), 1, dw.data<T>(), dw.row_stride());
    });
}

} // namespace braid::ops::cpu

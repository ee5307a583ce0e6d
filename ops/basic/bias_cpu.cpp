#include "ops/basic/bias_kernels.h"
#include "ops/cpu/rows.h"

namespace braid::ops::cpu {

void add_bias(const Tensor& x, const Tensor& b, const Tensor& y) {
    dispatch_storage(y.dtype(), [&]<typename S>() {
        using T = Accumulation<S>;
        const int64_t rows = y.dim(0), width = y.dim(1);
        const T* vector = b.data<T>();
#pragma omp parallel for schedule(static) if (y.numel() > 1 << 14)
        for (int64_t row = 0; row < rows; ++row) {
            const S* in = x.data<S>() + row * x.row_stride();
            S* out = y.data<S>() + row * width;
            for (int64_t j = 0; j < width; ++j) out[j] = static_cast<S>(static_cast<T>(in[j]) + vector[j]);
        }
    });
}

void bias_gradient(const Tensor& dy, const Tensor& db) {
    dispatch_float(db.dtype(), [&]<typename T>() {
        const Rows<const T> grad(dy);
        sum_rows(grad.count(), grad.width(), db.data<T>(), [&](int64_t row, T* sum, T*) {
            for (int64_t j = 0; j < grad.width(); ++j) sum[j] += grad[row][j];
        });
    });
}

} // namespace braid::ops::cpu

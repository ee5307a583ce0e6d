#include "ops/kernels/l2_norm.h"

#include <cmath>

#include "ops/cpu/vector_math.h"

namespace braid::ops::cpu {

void l2_norm(const Tensor& x, double eps, const Tensor& y, const Tensor& inverse_norm) {
    dispatch_float(y.dtype(), [&]<typename T>() {
        const int64_t tokens = x.dim(0), heads = x.dim(1), d = x.dim(2);
#pragma omp parallel for schedule(static) if (y.numel() > 1 << 14)
        for (int64_t t = 0; t < tokens; ++t)
            for (int64_t h = 0; h < heads; ++h) {
                const T* in = x.data<T>() + t * x.row_stride() + h * d;
                T* out = y.data<T>() + (t * heads + h) * d;
                const T r = 1 / std::sqrt(dot(in, in, d) + static_cast<T>(eps));
                for (int64_t i = 0; i < d; ++i) out[i] = r * in[i];
                inverse_norm.data<T>()[t * heads + h] = r;
            }
    });
}

void l2_norm_gradient(const Tensor& y, const Tensor& inverse_norm, const Tensor& dy, const Tensor& dx) {
    dispatch_float(dx.dtype(), [&]<typename T>() {
        const int64_t d = y.dim(2), rows = y.dim(0) * y.dim(1);
#pragma omp parallel for schedule(static) if (y.numel() > 1 << 14)
        for (int64_t i = 0; i < rows; ++i) {
            const T *unit = y.data<T>() + i * d, *in = dy.data<T>() + i * d;
            T* out = dx.data<T>() + i * d;
            const T r = inverse_norm.data<T>()[i], along = dot(in, unit, d);
            for (int64_t j = 0; j < d; ++j) out[j] = r * (in[j] - along * unit[j]);
        }
    });
}

} // namespace braid::ops::cpu

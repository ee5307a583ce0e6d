#include "ops/basic/l2_norm_kernels.h"

#include <cmath>

#include "ops/cpu/rows.h"
#include "ops/cpu/vector_math.h"

namespace braid::ops::cpu {

void l2_norm(const Tensor& x, double eps, const Tensor& y, const Tensor& inverse_norm) {
    const Rounded result(y);
    dispatch_float(inverse_norm.dtype(), [&]<typename T>() {
        const Rows<const T> in(x);
        const Rows<T> out(result);
        const int64_t d = in.width();
#pragma omp parallel for schedule(static) if (y.numel() > 1 << 14)
        for (int64_t row = 0; row < in.count(); ++row) {
            const T* px = in[row];
            T* py = out[row];
            const T r = 1 / std::sqrt(dot(px, px, d) + static_cast<T>(eps));
            for (int64_t i = 0; i < d; ++i) py[i] = r * px[i];
            inverse_norm.data<T>()[row] = r;
        }
    });
}

void l2_norm_gradient(const Tensor& y, const Tensor& inverse_norm, const Tensor& dy, const Tensor& dx) {
    const Rounded result(dx);
    dispatch_float(inverse_norm.dtype(), [&]<typename T>() {
        const Rows<const T> units(y), grad(dy);
        const Rows<T> out(result);
        const int64_t d = units.width();
#pragma omp parallel for schedule(static) if (y.numel() > 1 << 14)
        for (int64_t row = 0; row < units.count(); ++row) {
            const T *unit = units[row], *pdy = grad[row];
            T* pdx = out[row];
            const T r = inverse_norm.data<T>()[row], along = dot(pdy, unit, d);
            for (int64_t j = 0; j < d; ++j) pdx[j] = r * (pdy[j] - along * unit[j]);
        }
    });
}

} // namespace braid::ops::cpu

#include "ops/update/muon_kernels.h"

#include "ops/update/rectangles_cpu.h"

namespace braid::ops::cpu {

void muon_momentum(const Tensor& momentum, const Tensor& gradients, const Tensor& ahead, double beta,
                   double gradient_scale) {
    dispatch_float(momentum.dtype(), [&]<typename T>() {
        const T b = static_cast<T>(beta), share = static_cast<T>((1 - beta) * gradient_scale);
        const int64_t count = momentum.numel();
        const T* g = gradients.data<T>();
        T *m = momentum.data<T>(), *next = ahead.defined() ? ahead.data<T>() : nullptr;
#pragma omp parallel for simd schedule(static) if (count > 1 << 14)
        for (int64_t i = 0; i < count; ++i) m[i] = b * m[i] + share * g[i];
        if (!next) return;
#pragma omp parallel for simd schedule(static) if (count > 1 << 14)
        for (int64_t i = 0; i < count; ++i) next[i] = b * m[i] + share * g[i];
    });
}

void muon_apply(const Tensor& values, const Tensor& updates, const MuonFragments& fragments, double lr) {
    dispatch_float(values.dtype(), [&]<typename T>() {
        const T* from = updates.data<T>();
        T* to = values.data<T>();
        for_each_row(fragments.rectangles(),
                     [&](size_t fragment, int64_t source, int64_t target, int64_t columns) {
                         const MuonCoefficients<T> c(fragments.factors()[fragment], lr);
                         const T* o = from + source;
                         T* p = to + target;
                         for (int64_t j = 0; j < columns; ++j) p[j] = c.keep * p[j] - c.step * o[j];
                     });
    });
}

} // namespace braid::ops::cpu

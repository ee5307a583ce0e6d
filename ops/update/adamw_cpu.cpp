#include "ops/update/adamw_kernels.h"

#include <cmath>

namespace braid::ops::cpu {
namespace {

template <typename T>
void update_elements(T* p, T* m, T* v, const T* g, int64_t count, const AdamWCoefficients<T>& c) {
#pragma omp parallel for simd schedule(static) if (count > 1 << 14)
    for (int64_t i = 0; i < count; ++i) {
        const T gradient = g[i] * c.gradient_scale;
        const T m1 = c.beta1 * m[i] + c.one_minus_beta1 * gradient;
        const T v1 = c.beta2 * v[i] + c.one_minus_beta2 * gradient * gradient;
        m[i] = m1;
        v[i] = v1;
        p[i] = c.keep * p[i] - c.step_size * m1 / (std::sqrt(v1) * c.inverse_root_correction2 + c.eps);
    }
}

} // namespace

void adamw(const Tensor& values, const Tensor& first_moment, const Tensor& second_moment,
           const Tensor& gradients, const AdamWSections& sections, const AdamWStep& step) {
    dispatch_float(values.dtype(), [&]<typename T>() {
        for (const AdamWSection& section : sections.all())
            update_elements(values.data<T>() + section.first, first_moment.data<T>() + section.first,
                            second_moment.data<T>() + section.first, gradients.data<T>() + section.first,
                            section.last - section.first,
                            AdamWCoefficients<T>(step, section.lr_scale, section.weight_decay));
    });
}

} // namespace braid::ops::cpu

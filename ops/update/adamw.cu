#include "ops/update/adamw_kernels.h"

#include "tensor/cuda/for_each.h"

namespace braid::ops::cuda {
namespace {

using namespace braid::cuda;

/// All sections in one launch.
template <typename T>
void update(const Tensor& values, const Tensor& first_moment, const Tensor& second_moment,
            const Tensor& gradients, const AdamWSections& sections, const AdamWStep& step) {
    T *p = values.data<T>(), *m = first_moment.data<T>(), *v = second_moment.data<T>();
    const T* g = gradients.data<T>();
    const int64_t *counts = sections.counts().data<int64_t>(), *firsts = sections.firsts().data<int64_t>();
    const double* factors = sections.factors().data<double>();
    const auto num_sections = static_cast<int64_t>(sections.all().size());
    const AdamWCoefficients<T> c(step, 1, 0);
    const double lr = step.lr, correction1 = 1 - std::pow(step.beta1, static_cast<double>(step.step));
    for_each(values, sections.num_elements(), [=] __device__(int64_t index) {
        int64_t section = 0, end = num_sections; // the last one that begins at or before index
        while (end - section > 1) {
            const int64_t middle = (section + end) / 2;
            (counts[middle] <= index ? section : end) = middle;
        }
        const int64_t i = firsts[section] + index - counts[section];
        const double section_lr = lr * factors[2 * section];
        const T step_size = static_cast<T>(section_lr / correction1);
        const T keep = static_cast<T>(1 - section_lr * factors[2 * section + 1]);
        const T gradient = g[i] * c.gradient_scale;
        const T m1 = c.beta1 * m[i] + c.one_minus_beta1 * gradient;
        const T v1 = c.beta2 * v[i] + c.one_minus_beta2 * gradient * gradient;
        m[i] = m1;
        v[i] = v1;
        p[i] = keep * p[i] - step_size * m1 / (std::sqrt(v1) * c.inverse_root_correction2 + c.eps);
    });
}

} // namespace

void adamw(const Tensor& values, const Tensor& first_moment, const Tensor& second_moment,
           const Tensor& gradients, const AdamWSections& sections, const AdamWStep& step) {
    dispatch_float(values.dtype(), [&]<typename T>() {
        update<T>(values, first_moment, second_moment, gradients, sections, step);
    });
}

} // namespace braid::ops::cuda

#pragma once

#include <cmath>

#include "ops/on_device.h"
#include "ops/update/adamw.h"

namespace braid::ops {

/// The numbers of one step that are the same for a whole section, in the type it computes in.
template <typename T>
struct AdamWCoefficients {
    T beta1, one_minus_beta1, beta2, one_minus_beta2;
    T gradient_scale;
    T step_size;                // lr / (1 - b1^t)
    T inverse_root_correction2; // 1 / sqrt(1 - b2^t)
    T eps;
    T keep; // 1 - lr wd

    AdamWCoefficients(const AdamWStep& s, double lr_scale, double weight_decay) {
        const double t = static_cast<double>(s.step), lr = s.lr * lr_scale;
        beta1 = static_cast<T>(s.beta1);
        one_minus_beta1 = static_cast<T>(1 - s.beta1);
        beta2 = static_cast<T>(s.beta2);
        one_minus_beta2 = static_cast<T>(1 - s.beta2);
        gradient_scale = static_cast<T>(s.gradient_scale);
        step_size = static_cast<T>(lr / (1 - std::pow(s.beta1, t)));
        inverse_root_correction2 = static_cast<T>(1 / std::sqrt(1 - std::pow(s.beta2, t)));
        eps = static_cast<T>(s.eps);
        keep = static_cast<T>(1 - lr * weight_decay);
    }
};

} // namespace braid::ops

namespace braid::ops::cpu {

/// As in ops/update/adamw.h.
void adamw(const Tensor& values, const Tensor& first_moment, const Tensor& second_moment,
           const Tensor& gradients, const AdamWSections& sections, const AdamWStep& step);

} // namespace braid::ops::cpu

namespace braid::ops {

BRAID_KERNEL(adamw)

} // namespace braid::ops

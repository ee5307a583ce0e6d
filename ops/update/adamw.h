#pragma once

#include <span>

#include "tensor/tensor.h"

namespace braid::ops {

/// One step of AdamW (Loshchilov and Hutter, arXiv:1711.05101), the same for all elements but for learning
/// rate and decay, which change from section to section.
struct AdamWStep {
    double beta1, beta2, eps;
    double gradient_scale;
    int64_t step; // from 1
    double lr;    // times a section's lr_scale
};

/// Elements [first, last) of the tensors of a call.
struct AdamWSection {
    int64_t first, last;
    double lr_scale, weight_decay;
};

/// Sections where kernels read them: made once, ascending and without overlaps.
class AdamWSections {
  public:
    AdamWSections(Allocator& allocator, std::span<const AdamWSection> sections);

    std::span<const AdamWSection> all() const { return sections_; }
    /// On the allocator's device: i64 [sections + 1], the elements of the sections before each; i64
    /// [sections], where each begins; f64 [sections, 2], lr_scale and weight_decay. Undefined on the CPU.
    const Tensor& counts() const { return counts_; }
    const Tensor& firsts() const { return firsts_; }
    const Tensor& factors() const { return factors_; }
    int64_t num_elements() const { return num_elements_; }

  private:
    std::vector<AdamWSection> sections_;
    Tensor counts_, firsts_, factors_;
    int64_t num_elements_ = 0;
};

/// m = b1 m + (1 - b1) g, v = b2 v + (1 - b2) g^2 for g = gradient_scale times `gradients`; values -= lr (m^
/// / (sqrt(v^) + eps) + weight_decay values), m^ and v^ with the bias corrections of Adam. All tensors are
/// flat and of one length, f32 or f64; elements of no section stay.
void adamw(const Tensor& values, const Tensor& first_moment, const Tensor& second_moment,
           const Tensor& gradients, const AdamWSections& sections, const AdamWStep& step);

} // namespace braid::ops

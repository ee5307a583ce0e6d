#pragma once

#include "ops/kernels/on_device.h"
#include "ops/logit_options.h"
#include "tensor/parameter.h"

namespace braid::ops::cpu {

// h [T, D], w [V, D], labels i32 [T] (rows of w; kNoLabel where none counts, kLabelElsewhere where it is no
// row of this part of the head), lse and label_logits f64 [T]. `chunk` [C, V] is scratch that holds the
// logits of C tokens at a time. With h and w.compute_value() in bf16, logits and chunk are f32.

/// y = cap(logit_scale h wᵀ) [T, V].
void logits(const Tensor& h, const Parameter& w, const LogitOptions& options, const Tensor& y);

constexpr int32_t kNoLabel = -1, kLabelElsewhere = -2;

/// lse = log(sum of e^logit), 0 where no label counts; label_logits = logit of the label, 0 without one here.
void label_logits(const Tensor& h, const Parameter& w, const Tensor& labels, const LogitOptions& options,
                  const Tensor& chunk, const Tensor& label_logits, const Tensor& lse);

/// The gradients of factor sum(lse - label logit) + z_factor sum(lse²), lse being that of all parts of the
/// head: dh is written, dw (f32 for bf16) added to. For bf16 the gradients of the logits are rounded before
/// they are multiplied, as matrix units take them.
void cross_entropy_gradient(const Tensor& h, const Parameter& w, const Tensor& labels, const Tensor& lse,
                            const LogitOptions& options, double factor, double z_factor, const Tensor& chunk,
                            const Tensor& dh, const Tensor& dw);

} // namespace braid::ops::cpu

namespace braid::ops {

BRAID_KERNEL(logits)
BRAID_KERNEL(label_logits)
BRAID_KERNEL(cross_entropy_gradient)

} // namespace braid::ops

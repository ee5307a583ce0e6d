#pragma once

#include "ops/loss/logit_options.h"
#include "ops/on_device.h"
#include "tensor/parameters/parameter.h"

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
/// head: dh is written, dw (f32 for bf16) added to. The factors are f64 [1], or undefined for 0. For bf16 the
/// gradients of the logits are rounded before they are multiplied, as matrix units take them.
void cross_entropy_gradient(const Tensor& h, const Parameter& w, const Tensor& labels, const Tensor& lse,
                            const LogitOptions& options, const Tensor& factor, const Tensor& z_factor,
                            const Tensor& chunk, const Tensor& dh, const Tensor& dw);

/// local [T] = labels [T] as rows of the part of the head that holds rows [first_row, first_row + num_rows).
void local_labels(const Tensor& labels, int64_t first_row, int64_t num_rows, const Tensor& local);

/// losses [T] = lse - label_logits where a label counts; 0, and lse becomes 0 too, where none does.
void finish_token_losses(const Tensor& labels, const Tensor& label_logits, const Tensor& lse,
                         const Tensor& losses);

/// cross_entropy [1] = the sum of losses, z_loss [1] that of lse², all f64, in order on the CPU.
void sum_losses(const Tensor& losses, const Tensor& lse, const Tensor& cross_entropy, const Tensor& z_loss);

} // namespace braid::ops::cpu

namespace braid::ops {

BRAID_KERNEL(logits)
BRAID_KERNEL(label_logits)
BRAID_KERNEL(cross_entropy_gradient)
BRAID_KERNEL(local_labels)
BRAID_KERNEL(finish_token_losses)
BRAID_KERNEL(sum_losses)

} // namespace braid::ops

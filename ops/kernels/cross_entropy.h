#pragma once

#include "ops/logit_options.h"
#include "tensor/tensor.h"

namespace braid::ops::cpu {

// h [T, D], w [V, D], labels i32 [T] (checked, -1 ignored), lse and losses f64 [T]. `chunk` [C, V] is scratch
// that holds the logits of C tokens at a time.

/// y = cap(logit_scale h wᵀ) [T, V].
void logits(const Tensor& h, const Tensor& w, const LogitOptions& options, const Tensor& y);

/// lse = log(sum of e^logit), losses = lse - logit of the label; both 0 where the label is -1.
void token_losses(const Tensor& h, const Tensor& w, const Tensor& labels, const LogitOptions& options,
                  const Tensor& chunk, const Tensor& losses, const Tensor& lse);

/// The gradients of factor sum(losses) + z_factor sum(lse²): dh is written, dw added to.
void cross_entropy_gradient(const Tensor& h, const Tensor& w, const Tensor& labels, const Tensor& lse,
                            const LogitOptions& options, double factor, double z_factor, const Tensor& chunk,
                            const Tensor& dh, const Tensor& dw);

} // namespace braid::ops::cpu

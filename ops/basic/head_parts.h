#pragma once

#include "tensor/context.h"
#include "tensor/tensor.h"

namespace braid::ops {

/// Of parts f64 [R, 2, T], for each of R parts of a vocabulary the log-sum-exp and the label's logit (0
/// where the label is in another part): lse [T] = log of the sum over r of e^parts[r, 0], label_logits [T] =
/// the sum of parts[r, 1], both added in the order of r.
void combine_head_parts(const Tensor& parts, const Tensor& lse, const Tensor& label_logits);

} // namespace braid::ops

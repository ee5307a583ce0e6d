#pragma once

#include "ops/recurrence/delta_rule_kernels.h"

namespace braid::ops {

/// What the forward pass of a recurrence with a decay per channel leaves for backward: as DeltaSaved,
/// undefined without the delta rule, and pairs, laid out as the inverse, scale sum_d q_id k_jd e^(b_id -
/// b_jd) for j <= i.
struct ChannelSaved {
    DeltaSaved delta;
    Tensor pairs;
};

} // namespace braid::ops

namespace braid::ops::cpu {

// The recurrence of ops/recurrence/linear_recurrence.h with in.g [T, H, d_k], of as many key as value heads.
// No in.beta: no delta rule. Otherwise as delta_rule_forward and delta_rule_backward.

void channel_rule_forward(const DeltaInputs& in, const ChunkPlan& plan, const Tensor& o,
                          const ChannelSaved& saved, const Tensor& states, Allocator& allocator);
void channel_rule_backward(const DeltaInputs& in, const ChunkPlan& plan, const ChannelSaved& saved,
                           const Tensor& d_output, const DeltaBorders& borders,
                           const DeltaGradients& gradients, Allocator& allocator);

} // namespace braid::ops::cpu

namespace braid::ops {

BRAID_KERNEL(channel_rule_forward)
BRAID_KERNEL(channel_rule_backward)

} // namespace braid::ops

#pragma once

#include "tensor/parameters/parameter.h"
#include "tensor/tape.h"

namespace braid::ops {

/// The logarithm of the decay of gated DeltaNet and Mamba-2, per token and value head:
///     g = -exp(a_log) softplus(a + dt_bias)
/// with a [T, H_v] and the parameters a_log, dt_bias [H_v]. Returns g [T, H_v], not positive, f32 for a in
/// bf16. Saved for
/// backward: a and g. Bits do not depend on the number of threads.
Tensor delta_decay(Context& ctx, const Tensor& a, const Parameter* a_log, const Parameter* dt_bias);

} // namespace braid::ops

#pragma once

#include "ops/basic/gate_kind.h"
#include "tensor/parameters/parameter.h"
#include "tensor/tape.h"

namespace braid::ops {

// x and gate may be bf16: statistics, weights and their gradients are f32 then, and y is rounded to bf16
// once.

/// Root mean square normalisation over the last dimension (Zhang & Sennrich 2019): y = x̂ ⊙ w with
/// x̂ = x / sqrt(mean(x²) + eps). x [T, D], or [T, H, d] with one w [d] for all heads. `zero_centered`
/// multiplies by 1 + w instead; w null by nothing.
Tensor rms_norm(Context& ctx, const Tensor& x, const Parameter* w, double eps, bool zero_centered);

/// Layer normalisation over the last dimension (Ba et al. 2016): y = (x - mean) / sqrt(variance + eps) ⊙ w +
/// b, the variance taken over n, not n - 1. w and b, each [D] or null.
Tensor layer_norm(Context& ctx, const Tensor& x, const Parameter* w, const Parameter* b, double eps);

/// y = w ⊙ x̂ ⊙ act(gate), x̂ as in rms_norm: the norm comes before the gate (Yang et al. 2025, Gated Delta
/// Networks). x, gate, y [T, H, d] or [T, d]; w [d].
Tensor gated_rms_norm(Context& ctx, const Tensor& x, const Tensor& gate, const Parameter* w, double eps,
                      GateKind kind);

} // namespace braid::ops

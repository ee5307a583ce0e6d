#pragma once

#include "tensor/tape.h"

namespace braid::ops {

// The results have the dtype of x; with bf16 they are computed in f32 and rounded once.

/// y = x sigmoid(x), elementwise (also known as Swish; Elfwing et al. 2017).
Tensor silu(Context& ctx, const Tensor& x);
/// y = 1 / (1 + e^-x).
Tensor sigmoid(Context& ctx, const Tensor& x);
/// The tanh form of GELU (Hendrycks & Gimpel 2016): y = x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x³))).
Tensor gelu(Context& ctx, const Tensor& x);
/// y = max(x, 0)² (So et al. 2021, Primer).
Tensor relu2(Context& ctx, const Tensor& x);

/// y = silu(gate) ⊙ up of x = [gate, up]: x [T, 2I], y [T, I] (Shazeer 2020, "GLU variants improve
/// Transformer").
Tensor swiglu(Context& ctx, const Tensor& x);
/// y = gelu(gate) ⊙ up of x = [gate, up]: x [T, 2I], y [T, I].
Tensor geglu(Context& ctx, const Tensor& x);

/// y = x ⊙ sigmoid(gate). The gate has x's shape, or one value for each head of x [T, H, d] (gate [T, H]), or
/// one for each token (gate [T, 1]).
Tensor sigmoid_gate(Context& ctx, const Tensor& x, const Tensor& gate);

} // namespace braid::ops

#pragma once

#include "ops/documents.h"
#include "tensor/tape.h"

namespace braid::ops {

/// The gated delta rule (Yang et al., arXiv 2412.06464) in its chunked form. Per value head, with the state S
/// [d_k, d_v] zero at the start of each document:
///     S~ = e^{g_t} S_{t-1};  delta_t = beta_t (v_t - k_t S~);  S_t = S~ + k_tᵀ delta_t;  o_t = scale q_t
///     S_t.
/// q, k: [T, H_k, d_k] (k of unit length, else the rule may diverge); v: [T, H_v, d_v]; g: [T, H_v], the
/// logarithm of the decay, not positive, or undefined for 0 (plain DeltaNet, arXiv 2406.06484);
/// beta: [T, H_v]. Value head h uses q/k head h / (H_v / H_k). Returns o [T, H_v, d_v]. With q, k, v and o in
/// bf16, g, beta, states and all that is saved beside the inputs are f32.
///
/// Saved for backward: the inputs, per chunk of L tokens and value head the inverse (I + A)^-1 [L, L], and
/// the corrected values delta [H_v, T, d_v]. Backward recomputes the states between chunks (d_k d_v per chunk
/// and value head), which also exist during forward but are not kept. Time is linear in T. Bits do not depend
/// on the number of threads.
///
/// Documents start from the states `initial` [num_documents, H_v, d_k, d_v] (f32 where q is bf16) instead of
/// zero if it is defined, and `last`, if given, receives those after the last token of each document, in the
/// same shape and without a change to any bit of o; gradients reach through both. So one document in parts,
/// each from the `last` of the part before, is the whole document.
Tensor gated_delta_rule(Context& ctx, const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& g,
                        const Tensor& beta, const DocumentsPtr& documents, double scale,
                        const Tensor& initial = {}, Tensor* last = nullptr);

/// What a run tells about a delta-rule sublayer.
struct DeltaDiagnostics {
    double decay_mean = 1, decay_min = 1; // of e^g over tokens and heads
    double state_rms = 0;                 // root mean square of the last states
};

/// From g [T, H_v] (may be undefined) and the last states of gated_delta_rule. Waits for a GPU that they
/// lie on.
DeltaDiagnostics delta_diagnostics(const Tensor& g, const Tensor& last_states);

} // namespace braid::ops

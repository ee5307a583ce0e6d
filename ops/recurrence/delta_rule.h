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
/// `final_states`, if given, receives the state after the last token of each document as
/// [num_documents, H_v, d_k, d_v], without gradient and without a change to any bit of o. With gradients
/// through states, and from initial ones: linear_recurrence (ops/recurrence/linear_recurrence.h).
Tensor gated_delta_rule(Context& ctx, const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& g,
                        const Tensor& beta, const DocumentsPtr& documents, double scale,
                        Tensor* final_states = nullptr);

/// The same token by token, for generation: continues one document of which `state` [H_v, d_k, d_v] has seen
/// the tokens so far, by any number T >= 0 of new ones, and leaves their state there. An undefined `state`
/// starts a document. Not recorded on the tape.
Tensor gated_delta_rule_step(Context& ctx, const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& g,
                             const Tensor& beta, Tensor& state, double scale);

/// What a run tells about a delta-rule sublayer.
struct DeltaDiagnostics {
    double decay_mean = 1, decay_min = 1; // of e^g over tokens and heads
    double state_rms = 0;                 // root mean square of the final states
};

/// From g [T, H_v] (may be undefined) and the final states of gated_delta_rule. Waits for a GPU that they
/// lie on.
DeltaDiagnostics delta_diagnostics(const Tensor& g, const Tensor& final_states);

} // namespace braid::ops

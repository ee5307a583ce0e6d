#pragma once

#include "ops/documents.h"
#include "tensor/tape.h"

namespace braid::ops {

/// What a linear recurrence reads of T tokens: per head a state S [d_k, d_v], with a_t = e^(log_decay_t),
///     S~ = diag(a_t) S_(t-1);  u_t = v_t, or with beta the delta rule's beta_t (v_t - k_t S~);
///     S_t = S~ + k_tᵀ u_t;  o_t = scale q_t S_t.
/// Settings of it: linear attention and RetNet (no or constant decay per head), Mamba-2 (decay per head),
/// gated linear attention (per channel), DeltaNet (delta rule), Gated DeltaNet (delta rule and decay per
/// head), Kimi Delta Attention (delta rule and decay per channel).
struct LinearRecurrence {
    Tensor q, k;      // [T, H_k, d_k]; value head h reads key head h / (H_v / H_k)
    Tensor v;         // [T, H_v, d_v]
    Tensor log_decay; // not positive: [T, H_v], or [T, H_v, d_k] for a decay per channel; undefined: none
    Tensor beta;      // [T, H_v]; undefined: no delta rule
    double scale = 1;
};

struct RecurrenceResult {
    Tensor o;    // [T, H_v, d_v], in v's dtype
    Tensor last; // [num_documents, H_v, d_k, d_v], the states after each document, f32 or f64
};

/// The recurrence in chunks, for every setting, dtype and device, by kernels
/// (ops/recurrence/chunked_recurrence.h); all of it differentiable, initial and last states too. Documents
/// start from `initial` [num_documents, H_v, d_k, d_v], or from zero. States, decays and sums are f32 where q
/// is bf16. No exponent overflows, however strong decays are.
///
/// Within a chunk, with b the sums of log decays from its start, S_0 the state there and D_ij = e^(b_i - b_j)
/// for j <= i (channel by channel), the u of a chunk follow from (I + diag(beta) stril(K Kᵀ ⊙ D)) U =
/// diag(beta) (V - (K ⊙ e^b) S_0), or are V; O = scale ((Q ⊙ e^b) S_0 + tril(Q Kᵀ ⊙ D) U), and the state at
/// its end is diag(e^b_L) S_0 + (K ⊙ e^(b_L - b))ᵀ U (Yang et al., arXiv:2406.06484 and 2412.06464; Kimi
/// Linear, arXiv:2510.26692).
RecurrenceResult linear_recurrence(Context& ctx, const LinearRecurrence& in, const DocumentsPtr& documents,
                                   const Tensor& initial = {});

/// The same made of primitives (ops/compose/), by far slower: the reference that kernels are tested against.
RecurrenceResult composite_recurrence(Context& ctx, const LinearRecurrence& in, const DocumentsPtr& documents,
                                      const Tensor& initial = {});

} // namespace braid::ops

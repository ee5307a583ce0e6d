#pragma once

#include <cstdint>

namespace braid::ops {

/// How the head makes logits of hidden states: l = logit_scale h Wᵀ, then softcap tanh(l / softcap) if
/// softcap > 0 (Gemma 2).
struct LogitOptions {
    double logit_scale = 1;
    double softcap = 0;
    /// Of logits that exist at once; sums of gradients go by chunks too. 0 is head_chunk_tokens()'s choice.
    int64_t chunk_bytes = 0;
};

} // namespace braid::ops

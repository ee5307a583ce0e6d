#pragma once

#include <cstdint>

namespace braid::ops {

/// How the head makes logits of hidden states: l = logit_scale h Wᵀ, then softcap tanh(l / softcap) if
/// softcap > 0 (Gemma 2).
struct LogitOptions {
    double logit_scale = 1;
    double softcap = 0;
    int64_t chunk_bytes = int64_t{64}
                          << 20; // of logits that exist at once; sums of gradients go by chunks too
};

} // namespace braid::ops

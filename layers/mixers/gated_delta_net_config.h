#pragma once

#include <cstdint>
#include <optional>

#include "layers/specification/sublayer_type.h"

namespace braid {

struct GatedDeltaNetConfig {
    int64_t num_key_heads = 0;
    int64_t num_value_heads = 0;
    int64_t key_head_dim = 0;
    int64_t value_head_dim = 0;
    int64_t conv_kernel = 4; // taps
    bool negative_eigenvalues = false;
    std::optional<double> output_norm_eps; // none: that of the sublayer's norms
    bool operator==(const GatedDeltaNetConfig&) const = default;
};

/// type: gated_delta_net.
SublayerType gated_delta_net_type();

} // namespace braid

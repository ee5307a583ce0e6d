#pragma once

#include <array>
#include <cstdint>
#include <string_view>
#include <vector>

#include "layers/mixers/rope_config.h"
#include "layers/specification/sublayer_type.h"

namespace braid {

enum class QkNorm { none, per_head, full };
constexpr auto enum_names(QkNorm) {
    return std::array<std::string_view, 3>{"none", "per_head", "full"};
}

enum class AttentionGate { none, head, elementwise };
constexpr auto enum_names(AttentionGate) {
    return std::array<std::string_view, 3>{"none", "head", "elementwise"};
}

/// Those of attention that may have a bias.
enum class AttentionProjection { q, k, v, gate, out };
constexpr auto enum_names(AttentionProjection) {
    return std::array<std::string_view, 5>{"q", "k", "v", "gate", "out"};
}

struct AttentionConfig {
    int64_t num_heads = 0;
    int64_t num_kv_heads = 0; // a file that leaves it out means num_heads
    int64_t head_dim = 0;
    QkNorm qk_norm = QkNorm::none;
    AttentionGate gate = AttentionGate::none;
    RopeConfig rope;
    int64_t window = 0; // a token sees itself and the window - 1 tokens before it; 0 means all before it
    std::vector<AttentionProjection> bias; // of these projections
    bool operator==(const AttentionConfig&) const = default;
};

/// type: attention.
SublayerType attention_type();

} // namespace braid

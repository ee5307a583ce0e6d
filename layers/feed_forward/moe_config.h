#pragma once

#include <array>
#include <cstdint>
#include <string_view>
#include <vector>

#include "layers/feed_forward/mlp_config.h"

namespace braid {

enum class RouterScore { softmax, sigmoid };
constexpr auto enum_names(RouterScore) {
    return std::array<std::string_view, 2>{"softmax", "sigmoid"};
}

/// How a group of experts is scored: by its two best experts or by its best.
enum class RouterGroupScore { top2_sum, max };
constexpr auto enum_names(RouterGroupScore) {
    return std::array<std::string_view, 2>{"top2_sum", "max"};
}

/// The tokens over which the balancing loss counts expert fractions: each sequence, the whole previous step,
/// or this step's batch.
enum class AuxScope { sequence, global, batch };
constexpr auto enum_names(AuxScope) {
    return std::array<std::string_view, 3>{"sequence", "global", "batch"};
}

/// What of a mixture may have a bias: both projections of each expert, those of the shared expert.
enum class MoeProjection { experts, shared };
constexpr auto enum_names(MoeProjection) {
    return std::array<std::string_view, 2>{"experts", "shared"};
}

struct RouterConfig {
    RouterScore score = RouterScore::softmax;
    bool normalize = true; // the weights of a token's experts are divided by their sum before scale
    double scale = 1;
    double aux_loss = 0;
    AuxScope aux_scope = AuxScope::sequence;
    double z_loss = 0;
    bool bias = false;           // on the logits, learned as a weight is
    double bias_update_rate = 0; // 0: no selection bias
    int64_t num_groups = 1;      // of neighbouring experts; 1: a choice among all
    int64_t group_topk = 1;      // groups that a token's experts are chosen in
    RouterGroupScore group_score = RouterGroupScore::top2_sum;
    bool operator==(const RouterConfig&) const = default;
};

struct MoeConfig {
    int64_t num_experts = 0;
    int64_t experts_per_token = 0;
    int64_t expert_size = 0;
    int64_t shared_size = 0;  // 0: no shared expert
    bool shared_gate = false; // a sigmoid gate on the shared expert
    Activation activation = Activation::swiglu;
    int64_t piece_tokens = 0;        // 0: no pieces
    int64_t receive_tokens = 0;      // 0: as many as come
    std::vector<MoeProjection> bias; // of these projections
    RouterConfig router;
    bool operator==(const MoeConfig&) const = default;
};

/// type: moe.
SublayerType moe_type();

} // namespace braid

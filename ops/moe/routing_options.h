#pragma once

#include <cstdint>

namespace braid::ops {

/// How scores are made of router logits: p = softmax(logits) over the experts, or p = sigmoid(logits).
enum class RoutingScore : uint8_t { softmax, sigmoid };

/// How a group of experts is scored: the sum of its two best experts' scores (DeepSeek-V3) or the best one
/// (DeepSeek-V2).
enum class RoutingGroupScore : uint8_t { top2_sum, max };

struct RoutingOptions {
    RoutingScore score = RoutingScore::softmax;
    bool normalize = true; // the k weights of a token are divided by their sum (plus 1e-20)
    double scale = 1;      // multiplies all weights, after normalisation
    int64_t k = 1;         // experts per token
    // Groups of neighbouring experts, expert e in group e / (E / num_groups); a token's experts are chosen in
    // its group_topk best groups. One group: among all.
    int64_t num_groups = 1;
    int64_t group_topk = 1;
    RoutingGroupScore group_score = RoutingGroupScore::top2_sum;
};

} // namespace braid::ops

#pragma once

#include <cstdint>

namespace braid::ops {

/// How scores are made of router logits: p = softmax(logits) over the experts, or p = sigmoid(logits).
enum class RoutingScore : uint8_t { softmax, sigmoid };

struct RoutingOptions {
    RoutingScore score = RoutingScore::softmax;
    bool normalize = true; // the k weights of a token are divided by their sum (plus 1e-20)
    double scale = 1;      // multiplies all weights, after normalisation
    int64_t k = 1;         // experts per token
};

} // namespace braid::ops

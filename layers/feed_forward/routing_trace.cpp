#include "layers/feed_forward/routing_trace.h"

#include <algorithm>

#include "layers/sublayer/regions.h"
#include "tensor/host_values.h"

namespace braid {
namespace {

/// A token of a micro-batch in the order of training.
struct TokenPlace {
    int64_t sample, position;
};

TokenPlace place_of(const Documents& documents, int64_t token) {
    const int64_t length = documents.sequence_length();
    return {documents.first_sample + token / length, token % length};
}

} // namespace

void ExpertChoices::add(int moe_index, const Documents& documents, int64_t first_token,
                        const Tensor& expert) {
    const int64_t k = expert.dim(1);
    const std::vector<int32_t> choices = host_values<int32_t>(expert);
    for (int64_t t = 0; t < expert.dim(0); ++t) {
        const TokenPlace place = place_of(documents, first_token + t);
        auto& experts = by_sample_[{moe_index, place.sample}];
        experts.resize(static_cast<size_t>(documents.sequence_length() * k), -1);
        std::copy_n(choices.begin() + t * k, k, experts.begin() + place.position * k);
    }
}

Tensor ExpertChoices::at(Allocator& allocator, int moe_index, const Documents& documents, int64_t first_token,
                         const Shape& shape) const {
    const int64_t k = shape[1];
    std::vector<int32_t> choices(static_cast<size_t>(shape.numel()));
    for (int64_t t = 0; t < shape[0]; ++t) {
        const TokenPlace place = place_of(documents, first_token + t);
        const auto found = by_sample_.find({moe_index, place.sample});
        const auto end = (place.position + 1) * k;
        const bool known = found != by_sample_.end() &&
                           found->second.size() == static_cast<size_t>(documents.sequence_length() * k) &&
                           found->second[static_cast<size_t>(end) - 1] >= 0;
        check(known, "MoE layer {}: no experts were taken down for token {} of sample {}", moe_index,
              place.position, place.sample);
        std::copy_n(found->second.begin() + end - k, k, choices.begin() + t * k);
    }
    return tensor_of(allocator, choices).view(shape);
}

Tensor RoutingTrace::given_experts(LayerContext& ctx, int moe_index, const Shape& shape) const {
    if (!given) return {};
    return given->at(*ctx.allocator, moe_index, *ctx.documents, first_token(ctx), shape);
}

void RoutingTrace::add(const LayerContext& ctx, int moe_index, const ops::Routing& routing) {
    num_choices += routing.expert.dim(0);
    num_flips += routing.num_flips;
    if (!given) taken.add(moe_index, *ctx.documents, first_token(ctx), routing.expert);
}

} // namespace braid

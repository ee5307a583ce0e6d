#pragma once

#include <map>
#include <utility>
#include <vector>

#include "layers/sublayer/layer_context.h"
#include "ops/moe/routing.h"

namespace braid {

/// The experts that tokens went to, by MoE layer, sample and position, so that another layout of ranks, which
/// meets the same tokens elsewhere and in another order, finds them.
class ExpertChoices {
  public:
    /// Takes experts i32 [t, k] of the tokens from first_token on of a micro-batch.
    void add(int moe_index, const Documents& documents, int64_t first_token, const Tensor& expert);
    /// The experts of such tokens, of shape [t, k]. InternalError where they were not taken.
    Tensor at(Allocator& allocator, int moe_index, const Documents& documents, int64_t first_token,
              const Shape& shape) const;

  private:
    std::map<std::pair<int, int64_t>, std::vector<int32_t>> by_sample_; // i32 [sequence length, k]
};

/// What one rank's MoE layers do with their tokens' choices beside following them: take them down, or, where
/// `given` is set, follow those instead and count how often their own would have been others. Two runs whose
/// scores differ by rounding then send every token to the same experts and can be compared.
struct RoutingTrace {
    const ExpertChoices* given = nullptr;
    ExpertChoices taken;     // of this rank's tokens, unless given
    int64_t num_choices = 0; // tokens, counted in every MoE layer
    int64_t num_flips = 0;   // those of them whose own choice is another set of experts than the given one

    /// The given experts of this rank's share of a micro-batch, [t, k]; undefined where none are.
    Tensor given_experts(LayerContext& ctx, int moe_index, const Shape& shape) const;
    void add(const LayerContext& ctx, int moe_index, const ops::Routing& routing);
};

} // namespace braid

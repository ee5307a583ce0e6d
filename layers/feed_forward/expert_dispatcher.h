#pragma once

#include <string>
#include <vector>

#include "layers/feed_forward/moe_config.h"
#include "layers/sublayer/layer_context.h"
#include "ops/moe/permute.h"
#include "parallel/row_collectives.h"
#include "tensor/parameters/rank_grid.h"

namespace braid {

/// Takes tokens to the ranks that hold their experts and brings the results back. Ranks of the expert axis
/// hold num_experts / size experts each; ranks of the expert_tensor axis hold parts of the same experts and
/// all see the same rows. A token goes once to each rank that holds at least one of its experts, with its
/// weights; that rank gives back the weighted sum over its experts, and the token's own rank adds these sums
/// in rank order. Ranks without a token and experts without one take part all the same.
class ExpertDispatcher {
  public:
    /// layer and sublayer name the place in the model in errors.
    ExpertDispatcher(const MoeConfig& config, const RankGrid& grid, int layer, std::string sublayer)
        : num_experts_(config.num_experts),
          experts_per_token_(config.experts_per_token),
          receive_tokens_(config.receive_tokens),
          distributed_(grid.expert.size * grid.expert_tensor.size > 1),
          layer_(layer),
          sublayer_(std::move(sublayer)) {}

    /// Whether experts are shared out over ranks. If not, tokens stay where they are.
    bool is_distributed() const { return distributed_; }

    /// Tokens as they lie on a rank that holds experts, and the way back.
    struct Dispatched {
        Tensor rows;    // [N, D], differentiable
        Tensor weight;  // [N, k], differentiable
        Tensor expert;  // i32 [N, k]: this rank's experts from 0; -1 for those of other ranks
        Values returns; // what combine() needs

        /// As a list to hand from segment to segment, and back.
        Values pack() const;
        static Dispatched unpack(const Values& values, size_t first);
    };

    /// h [T, D], weight [T, k], expert i32 [T, k], each token on one rank of the mesh. `meanwhile` runs while
    /// rows travel. If more than config.receive_tokens tokens were to come to a rank (its own among them, and
    /// those of the ranks that share its experts), every rank of the job throws the same AgreedError
    /// (non_finite) with a table of the load before any row has travelled.
    Dispatched dispatch(LayerContext& ctx, const Tensor& h, const Tensor& weight, const Tensor& expert,
                        const std::function<void()>& meanwhile) const;
    /// y [N, D], on each rank the weighted sum over its experts (over its part of them): to [T, D].
    Tensor combine(LayerContext& ctx, const Tensor& y, const Values& returns) const;

  private:
    /// What is known of the rows before they travel.
    struct RowPlan {
        RowCounts received; // from each rank of the expert axis
        RowCounts gathered; // of each rank of the expert_tensor axis
    };
    RowPlan plan_rows(LayerContext& ctx, const Tensor& expert, const RowCounts& sent) const;
    RowPlan plan_bounded_rows(LayerContext& ctx, const Tensor& expert, const RowCounts& sent) const;
    [[noreturn]] void refuse_load(LayerContext& ctx, const Tensor& expert, int copy,
                                  const RowCounts& tokens) const;

    int64_t num_experts_, experts_per_token_, receive_tokens_;
    bool distributed_;
    int layer_;
    std::string sublayer_;
};

} // namespace braid

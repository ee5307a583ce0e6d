#pragma once

#include <vector>

#include "ops/permute.h"
#include "tensor/segment.h"

namespace braid {

class Mesh;
class RowExchange;

/// Takes tokens to the ranks that hold their experts and brings the results back. Ranks of the expert axis
/// hold num_experts / size experts each; ranks of the expert_tensor axis hold parts of the same experts and
/// all see the same rows. A token goes once to each rank that holds at least one of its experts, with its
/// weights; that rank gives back the weighted sum over its experts, and the token's own rank adds these sums
/// in rank order. Ranks without a token and experts without one take part all the same.
class ExpertDispatcher {
  public:
    ExpertDispatcher(int64_t num_experts, int64_t experts_per_token)
        : num_experts_(num_experts), experts_per_token_(experts_per_token) {}

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
    /// rows travel.
    Dispatched dispatch(Context& ctx, const Tensor& h, const Tensor& weight, const Tensor& expert,
                        const std::function<void()>& meanwhile) const;
    /// y [N, D], on each rank the weighted sum over its experts (over its part of them): to [T, D].
    Tensor combine(Context& ctx, const Tensor& y, const Values& returns) const;

    static bool is_distributed(const Context& ctx);

  private:
    Tensor destinations(Context& ctx, const Tensor& expert, int num_ranks) const;
    Tensor expert_rows(Context& ctx, const Tensor& expert, const ops::ExpertPlan& copies) const;

    int64_t num_experts_, experts_per_token_;
};

} // namespace braid

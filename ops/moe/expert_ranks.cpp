#include "ops/moe/expert_ranks.h"

#include <algorithm>

#include "ops/moe/expert_ranks_kernels.h"

namespace braid::ops {

Tensor ranks_of_choices(Context& ctx, const Tensor& expert, int64_t experts_per_rank, int64_t num_ranks) {
    check(expert.rank() == 2 && expert.is_contiguous(), "ranks_of_choices: choices of shape {}",
          to_string(expert.shape()));
    Tensor ranks =
        Tensor::empty(*ctx.allocator, {expert.dim(0), std::min(expert.dim(1), num_ranks)}, DType::i32);
    device::ranks_of_choices(expert, experts_per_rank, ranks);
    return ranks;
}

Tensor choices_on_ranks(Context& ctx, const Tensor& expert, const ExpertPlan& copies,
                        int64_t experts_per_rank) {
    Tensor local = Tensor::empty(*ctx.allocator, {copies.num_rows(), expert.dim(1)}, DType::i32);
    device::choices_on_ranks(expert, copies.order, copies.k, copies.offsets, experts_per_rank, local);
    return local;
}

} // namespace braid::ops

#pragma once

#include "ops/moe/permute.h"

namespace braid::ops {

// Which ranks a token goes to where experts are shared out: rank r holds the experts from r
// experts_per_rank on.

/// The ranks of each token's experts, ascending and each once, filled up with -1: expert i32 [T, k] with
/// values in [0, num_ranks experts_per_rank) to i32 [T, min(k, num_ranks)].
Tensor ranks_of_choices(Context& ctx, const Tensor& expert, int64_t experts_per_rank, int64_t num_ranks);

/// For the copies of tokens that `copies` sorts by rank: each copy's choices among that rank's experts,
/// counted from the rank's first, and -1 for choices of other ranks. expert i32 [T, k] to i32 [R, k].
Tensor choices_on_ranks(Context& ctx, const Tensor& expert, const ExpertPlan& copies,
                        int64_t experts_per_rank);

} // namespace braid::ops

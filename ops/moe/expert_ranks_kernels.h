#pragma once

#include "ops/on_device.h"

namespace braid::ops::cpu {

// Shapes as in ops/moe/expert_ranks.h.

void ranks_of_choices(const Tensor& expert, int64_t experts_per_rank, const Tensor& ranks);
/// Row r is a copy of token order[r] / copies_per_token, and the rows of rank n are offsets[n] to offsets[n +
/// 1].
void choices_on_ranks(const Tensor& expert, const Tensor& order, int64_t copies_per_token,
                      const Tensor& offsets, int64_t experts_per_rank, const Tensor& local);

} // namespace braid::ops::cpu

namespace braid::ops {

BRAID_KERNEL(ranks_of_choices)
BRAID_KERNEL(choices_on_ranks)

} // namespace braid::ops

#pragma once

#include "ops/on_device.h"
#include "tensor/tensor.h"

namespace braid::ops::cpu {

// Shapes as in ops/moe/permute.h. Each output row is written by one thread, in slot order where it is a sum.

/// Entries of `expert` that are not -1, for which it waits for a GPU. InternalError for one that is not
/// among the experts.
int64_t num_choices(const Tensor& expert, int64_t num_experts);
/// order has as many elements as there are choices; where that is not so, the CPU throws InternalError, and
/// on a GPU, which is not asked, rows and experts do not belong together.
void make_expert_plan(const Tensor& expert, const Tensor& order, const Tensor& row_of_slot,
                      const Tensor& offsets);
/// rows[r] = h[order[r] / k].
void permute(const Tensor& h, const Tensor& order, int64_t k, const Tensor& rows);
/// y[t] = sum_j weight[t, j] rows[row_of_slot[t k + j]] over the rows that are not -1; an undefined weight
/// stands for ones.
void combine(const Tensor& rows, const Tensor& weight, const Tensor& row_of_slot, int64_t k, const Tensor& y);
/// drows[row of slot] = weight[slot] dy[t], dweight[slot] = <rows[row of slot], dy[t]>, 0 where there is no
/// row.
void combine_backward(const Tensor& dy, const Tensor& rows, const Tensor& weight, const Tensor& row_of_slot,
                      int64_t k, const Tensor& drows, const Tensor& dweight);

} // namespace braid::ops::cpu

namespace braid::ops {

BRAID_KERNEL(num_choices)
BRAID_KERNEL(make_expert_plan)
BRAID_KERNEL(permute)
BRAID_KERNEL(combine)
BRAID_KERNEL(combine_backward)

} // namespace braid::ops

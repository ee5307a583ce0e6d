#pragma once

#include "ops/on_device.h"
#include "tensor/tensor.h"

namespace braid::ops::cpu {

/// y[t] = table[ids[t] - first], 0 for ids outside the table.
void embedding(const Tensor& ids, int64_t first, const Tensor& table, const Tensor& y);
/// dtable[ids[t] - first] += dy[t] for ids within the table; tokens of one id are added in their order,
/// whatever the number of threads.
void embedding_weight_gradient(const Tensor& ids, int64_t first, const Tensor& dy, const Tensor& dtable);

} // namespace braid::ops::cpu

namespace braid::ops {

BRAID_KERNEL(embedding)
BRAID_KERNEL(embedding_weight_gradient)

} // namespace braid::ops

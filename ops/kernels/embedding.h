#pragma once

#include "tensor/tensor.h"

namespace braid::ops::cpu {

/// y[t] = table[ids[t]]; the ids were checked.
void embedding(const Tensor& ids, const Tensor& table, const Tensor& y);
/// dtable[ids[t]] += dy[t]; tokens of one id are added in their order, whatever the number of threads.
void embedding_weight_gradient(const Tensor& ids, const Tensor& dy, const Tensor& dtable);

} // namespace braid::ops::cpu

#pragma once

#include "tensor/tensor.h"

namespace braid::ops {

/// sum[i] = the sum of pieces[r, i] over r, added in the order of r: pieces [R, n] packed, sum [n] packed, of
/// one dtype (f32, f64, bf16 or i64); bf16 in f32, rounded once. `sum` may be one of the rows.
void ordered_sum(const Tensor& pieces, const Tensor& sum);

} // namespace braid::ops

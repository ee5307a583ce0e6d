#pragma once

#include "tensor/tensor.h"

namespace braid::ops {

/// sum[i] = the sum of terms[r, i] over r, added in the order of r: terms [R, n] packed, sum [n] packed, of
/// one dtype (f32, f64, bf16 or i64); bf16 in f32, rounded once. `sum` may be one of the rows.
void ordered_sum(const Tensor& terms, const Tensor& sum);

} // namespace braid::ops

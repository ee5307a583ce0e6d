#pragma once

#include "tensor/tensor.h"

namespace braid::cuda {

/// out = a + b, packed, of one floating dtype; out may be a.
void add(const Tensor& a, const Tensor& b, const Tensor& out);
/// All elements of a packed floating tensor = value.
void fill(const Tensor& x, double value);
/// y (bf16) = x (f32) rounded, both packed.
void round(const Tensor& x, const Tensor& y);

} // namespace braid::cuda

#pragma once

#include "tensor/tensor.h"

namespace braid::ops {

// Sums for reports and norms, not differentiable. Each is made of fixed blocks added in order, in double, so
// that it does not depend on the number of threads.

/// The sum of squares of all elements.
double sum_of_squares(const Tensor& x);
/// The same into f64 [1] on x's device, without waiting for it.
void sum_of_squares(const Tensor& x, const Tensor& sum);
/// The largest |element|; NaN if there is one; 0 for no element.
double max_abs(const Tensor& x);

} // namespace braid::ops

#pragma once

#include "tensor/parameters/parameter.h"
#include "tensor/tape.h"

namespace braid::ops {

/// A linear map per group of rows: y[r] = x[r] W_eᵀ for offsets[e] <= r < offsets[e + 1]. x [R, in], w [E,
/// out, in], offsets i64 [E + 1] from 0 to R, y [R, out]. Groups may be empty. Dtypes as in ops::linear.
/// Offsets on a GPU are not checked: they never reach the host.
Tensor grouped_linear(Context& ctx, const Tensor& x, const Parameter* w, const Tensor& offsets);

} // namespace braid::ops

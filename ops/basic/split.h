#pragma once

#include <span>
#include <vector>

#include "tensor/tape.h"

namespace braid::ops {

/// The columns of x [T, n] in consecutive parts [T, sizes[i]], which share x's memory. The sizes must add up
/// to n.
std::vector<Tensor> split_columns(Context& ctx, const Tensor& x, std::span<const int64_t> sizes);

} // namespace braid::ops

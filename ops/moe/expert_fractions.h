#pragma once

#include "tensor/context.h"
#include "tensor/tensor.h"

namespace braid::ops {

/// Each expert's share of all choices, f64 [E], from counts i64 [E]; equal shares where nothing was counted.
Tensor expert_fractions(Context& ctx, const Tensor& counts);

} // namespace braid::ops

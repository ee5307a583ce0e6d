#pragma once

#include "tensor/parameter.h"
#include "tensor/tape.h"

namespace braid::ops {

/// y[t] = table[ids[t]]: ids i32 [T], table [V, D], y [T, D] in the dtype of
/// the table's compute_value(). Throws DataError on an id outside [0, V).
Tensor embedding(Context& ctx, const Tensor& ids, const Parameter* table);

} // namespace braid::ops

#pragma once

#include "tensor/parameters/parameter.h"
#include "tensor/tape.h"

namespace braid::ops {

/// Throws DataError on an id (i32, on the host) outside [0, size).
void expect_ids_in_range(const Tensor& ids, int64_t size);

/// y[t] = table[ids[t]]: ids i32 [T], table [V, D], y [T, D] in the dtype of the table's compute_value().
/// Throws DataError on an id outside [0, V); ids on a GPU are taken as they are, checked before they went
/// there.
Tensor embedding(Context& ctx, const Tensor& ids, const Parameter* table);

} // namespace braid::ops

#pragma once

#include "tensor/parameters/parameter.h"
#include "tensor/tape.h"

namespace braid::ops {

/// x [R, n] with b_e [m] of b [E, m] added to the columns first to first + m of the rows of group e, which
/// are offsets[e] <= r < offsets[e + 1]; offsets as in ops::grouped_linear. The other columns stay. Dtypes as
/// in ops::add_bias.
Tensor add_group_bias(Context& ctx, const Tensor& x, const Parameter* b, const Tensor& offsets,
                      int64_t first = 0);

} // namespace braid::ops

#pragma once

#include "tensor/tape.h"

namespace braid::ops {

/// Products of queries and keys that have decayed in between: q, k [B, n, d] and b [B, n, d], the sums of log
/// decays up to each row, give y [B, n, n] with y_ij = sum over d of q_id k_jd e^(b_id - b_jd) for j <= i,
/// zero above the diagonal. For decays (b not increasing along rows) no exponent is above 0, so nothing
/// overflows, however strong they are. All of one dtype, f32 or f64.
Tensor decayed_products(Context& ctx, const Tensor& q, const Tensor& k, const Tensor& b);

/// The same of ones: e^(b_i - b_j) for j <= i, of b [B, n].
Tensor decay_matrix(Context& ctx, const Tensor& b);

} // namespace braid::ops

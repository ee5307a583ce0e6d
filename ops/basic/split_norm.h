#pragma once

#include "tensor/parameters/parameter.h"
#include "tensor/tape.h"

namespace braid::ops {

// RMS normalisation of rows whose features are shared out over ranks: the squares are summed over ranks
// between these two. x may be bf16; the squares are f32 then.

/// Sum of squares of each row: x [T, n] to [T].
Tensor row_squares(Context& ctx, const Tensor& x);

/// y = x / sqrt(squares / width + eps) ⊙ w (⊙ 1 + w if zero-centered): x [T, n] a part of rows of `width`
/// features, squares [T] of whole rows, w [n]. Differentiable in x, squares and w.
Tensor rms_norm_given_squares(Context& ctx, const Tensor& x, const Tensor& squares, int64_t width,
                              const Parameter* w, double eps, bool zero_centered);

} // namespace braid::ops

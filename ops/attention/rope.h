#pragma once

#include "ops/documents.h"
#include "tensor/tape.h"

namespace braid::ops {

struct RopeOptions {
    double theta = 10000; // base of the wavelengths
    double fraction = 1;  // the part of each head that turns; fraction * d is an even integer
};

/// Rotary position embedding (Su et al., 2021, arXiv:2104.09864) of x [T, H, d], pairing element i with
/// i + r/2 in the first r = fraction * d elements of each head. At position p of its document
///     y_i       = x_i cos(p w_i) - x_{i+r/2} sin(p w_i)
///     y_{i+r/2} = x_{i+r/2} cos(p w_i) + x_i sin(p w_i),    w_i = theta^(-2i/r), i < r/2.
/// The other elements pass. Angles are exact to f64 whatever the type of x; sines and cosines are f32 for x
/// in bf16.
Tensor rope(Context& ctx, const Tensor& x, const DocumentsPtr& documents, const RopeOptions& options);

} // namespace braid::ops

#pragma once

#include "ops/cpu/widen.h"
#include "tensor/parameter.h"

namespace braid::ops::cpu {

/// w.compute_value() as kernels read it that compute in f32 or f64. The copy of a bf16 one is kept until the
/// values change.
Tensor widened_weights(const Parameter& w);

} // namespace braid::ops::cpu

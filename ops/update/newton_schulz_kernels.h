#pragma once

#include <vector>

#include "ops/on_device.h"
#include "ops/update/newton_schulz.h"
#include "tensor/tensor.h"

namespace braid::ops::cpu {

/// As in ops/update/newton_schulz.h; norms f64 [n].
void newton_schulz(Allocator& allocator, const Tensor& x, const std::vector<NewtonSchulzStep>& steps,
                   const Tensor& norms);

} // namespace braid::ops::cpu

namespace braid::ops {

BRAID_KERNEL(newton_schulz)

} // namespace braid::ops

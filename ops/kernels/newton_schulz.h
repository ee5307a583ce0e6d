#pragma once

#include <vector>

#include "ops/kernels/on_device.h"
#include "ops/newton_schulz.h"
#include "tensor/tensor.h"

namespace braid::ops::cpu {

std::vector<double> newton_schulz(Allocator& allocator, const Tensor& x,
                                  const std::vector<NewtonSchulzStep>& steps);

} // namespace braid::ops::cpu

namespace braid::ops {

BRAID_KERNEL(newton_schulz)

} // namespace braid::ops

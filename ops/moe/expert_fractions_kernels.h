#pragma once

#include "ops/kernels/on_device.h"

namespace braid::ops::cpu {

/// As in ops/expert_fractions.h.
void expert_fractions(const Tensor& counts, const Tensor& fractions);

} // namespace braid::ops::cpu

namespace braid::ops {

BRAID_KERNEL(expert_fractions)

} // namespace braid::ops

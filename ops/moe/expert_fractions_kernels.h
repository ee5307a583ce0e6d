#pragma once

#include "ops/on_device.h"

namespace braid::ops::cpu {

/// As in ops/moe/expert_fractions.h.
void expert_fractions(const Tensor& counts, const Tensor& fractions);

} // namespace braid::ops::cpu

namespace braid::ops {

BRAID_KERNEL(expert_fractions)

} // namespace braid::ops

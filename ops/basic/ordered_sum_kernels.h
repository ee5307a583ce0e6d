#pragma once

#include "ops/on_device.h"

namespace braid::ops::cpu {

/// As in ops/basic/ordered_sum.h.
void ordered_sum(const Tensor& terms, const Tensor& sum);

} // namespace braid::ops::cpu

namespace braid::ops {

BRAID_KERNEL(ordered_sum)

} // namespace braid::ops

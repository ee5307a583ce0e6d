#pragma once

#include "ops/on_device.h"
#include "ops/update/rectangles.h"

namespace braid::ops::cpu {

/// As in ops/update/rectangles.h.
void copy_rectangles(const Tensor& x, const Tensor& y, const Rectangles& rectangles);

} // namespace braid::ops::cpu

namespace braid::ops {

BRAID_KERNEL(copy_rectangles)

} // namespace braid::ops

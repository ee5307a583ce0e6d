#pragma once

#include <span>

#include "ops/on_device.h"
#include "tensor/tensor.h"

namespace braid::ops::cpu {

/// Writes part i [T, sizes[i]] (zeros where it is undefined) beside the earlier ones into y [T, sum of
/// sizes].
void concatenate_columns(std::span<const Tensor> parts, std::span<const int64_t> sizes, const Tensor& y);

} // namespace braid::ops::cpu

namespace braid::ops {

BRAID_KERNEL(concatenate_columns)

} // namespace braid::ops

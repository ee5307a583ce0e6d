#pragma once

#include "ops/on_device.h"

namespace braid::ops::cpu {

/// As in ops/basic/head_parts.h.
void combine_head_parts(const Tensor& parts, const Tensor& lse, const Tensor& label_logits);

} // namespace braid::ops::cpu

namespace braid::ops {

BRAID_KERNEL(combine_head_parts)

} // namespace braid::ops

#include "ops/basic/head_parts.h"

#include "ops/basic/head_parts_kernels.h"

namespace braid::ops {

void combine_head_parts(const Tensor& parts, const Tensor& lse, const Tensor& label_logits) {
    expect_shape(parts, {parts.dim(0), 2, lse.dim(0)}, "combine_head_parts");
    device::combine_head_parts(parts, lse, label_logits);
}

} // namespace braid::ops

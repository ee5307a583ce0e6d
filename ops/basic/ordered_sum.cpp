#include "ops/basic/ordered_sum.h"

#include "ops/basic/ordered_sum_kernels.h"

namespace braid::ops {

void ordered_sum(const Tensor& pieces, const Tensor& sum) {
    check(pieces.dtype() == sum.dtype() && pieces.is_contiguous() && sum.is_contiguous() &&
              pieces.numel() == pieces.dim(0) * sum.numel() && pieces.dim(0) > 0,
          "ordered_sum of {} to {}", to_string(pieces.shape()), to_string(sum.shape()));
    if (sum.numel() > 0) device::ordered_sum(pieces, sum);
}

} // namespace braid::ops

#include "ops/basic/ordered_sum.h"

#include "ops/basic/ordered_sum_kernels.h"

namespace braid::ops {

void ordered_sum(const Tensor& terms, const Tensor& sum) {
    check(terms.dtype() == sum.dtype() && terms.is_contiguous() && sum.is_contiguous() &&
              terms.numel() == terms.dim(0) * sum.numel() && terms.dim(0) > 0,
          "ordered_sum of {} to {}", to_string(terms.shape()), to_string(sum.shape()));
    if (sum.numel() > 0) device::ordered_sum(terms, sum);
}

} // namespace braid::ops

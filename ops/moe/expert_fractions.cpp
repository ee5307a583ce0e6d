#include "ops/moe/expert_fractions.h"

#include "ops/moe/expert_fractions_kernels.h"

namespace braid::ops {

Tensor expert_fractions(Context& ctx, const Tensor& counts) {
    Tensor fractions = Tensor::empty(*ctx.allocator, counts.shape(), DType::f64);
    device::expert_fractions(counts, fractions);
    return fractions;
}

} // namespace braid::ops

#include "ops/moe/expert_fractions_kernels.h"

#include "tensor/cuda/for_each.h"

namespace braid::ops::cuda {

using namespace braid::cuda;

void expert_fractions(const Tensor& counts, const Tensor& fractions) {
    const int64_t* count = counts.data<int64_t>();
    double* out = fractions.data<double>();
    const int64_t experts = counts.numel();
    for_each(fractions, experts, [=] __device__(int64_t e) {
        int64_t total = 0; // experts are few: each thread adds them up
        for (int64_t i = 0; i < experts; ++i) total += count[i];
        out[e] = total > 0 ? static_cast<double>(count[e]) / static_cast<double>(total)
                           : 1 / static_cast<double>(experts);
    });
}

} // namespace braid::ops::cuda

#include "ops/moe/expert_fractions_kernels.h"

#include <numeric>

namespace braid::ops::cpu {

void expert_fractions(const Tensor& counts, const Tensor& fractions) {
    const auto count = counts.span<int64_t>();
    const auto total = static_cast<double>(std::accumulate(count.begin(), count.end(), int64_t{0}));
    for (size_t e = 0; e < count.size(); ++e)
        fractions.data<double>()[e] =
            total > 0 ? static_cast<double>(count[e]) / total : 1 / static_cast<double>(count.size());
}

} // namespace braid::ops::cpu

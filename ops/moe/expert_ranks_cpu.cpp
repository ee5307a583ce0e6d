#include "ops/moe/expert_ranks_kernels.h"

#include <algorithm>
#include <vector>

namespace braid::ops::cpu {

void ranks_of_choices(const Tensor& expert, int64_t experts_per_rank, const Tensor& ranks) {
    const int64_t k = expert.dim(1), most = ranks.dim(1);
    std::vector<int32_t> of_token;
    for (int64_t t = 0; t < expert.dim(0); ++t) {
        of_token.clear();
        for (int64_t j = 0; j < k; ++j)
            of_token.push_back(static_cast<int32_t>(expert.data<int32_t>()[t * k + j] / experts_per_rank));
        std::sort(of_token.begin(), of_token.end());
        of_token.erase(std::unique(of_token.begin(), of_token.end()), of_token.end());
        of_token.resize(static_cast<size_t>(most), -1);
        std::copy(of_token.begin(), of_token.end(), ranks.data<int32_t>() + t * most);
    }
}

void choices_on_ranks(const Tensor& expert, const Tensor& order, int64_t copies_per_token,
                      const Tensor& offsets, int64_t experts_per_rank, const Tensor& local) {
    const int64_t k = expert.dim(1);
    for (int64_t rank = 0; rank + 1 < offsets.numel(); ++rank)
        for (int64_t r = offsets.data<int64_t>()[rank]; r < offsets.data<int64_t>()[rank + 1]; ++r) {
            const int64_t token = order.data<int32_t>()[r] / copies_per_token;
            for (int64_t j = 0; j < k; ++j) {
                const int64_t number = expert.data<int32_t>()[token * k + j] - rank * experts_per_rank;
                const bool here = number >= 0 && number < experts_per_rank;
                local.data<int32_t>()[r * k + j] = here ? static_cast<int32_t>(number) : -1;
            }
        }
}

} // namespace braid::ops::cpu

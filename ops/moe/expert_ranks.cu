#include "ops/moe/expert_ranks_kernels.h"

#include "tensor/cuda/for_each.h"

namespace braid::ops::cuda {

using namespace braid::cuda;

void ranks_of_choices(const Tensor& expert, int64_t experts_per_rank, const Tensor& ranks) {
    const int64_t k = expert.dim(1), most = ranks.dim(1);
    const int32_t* choices = expert.data<int32_t>();
    int32_t* out = ranks.data<int32_t>();
    for_each(ranks, expert.dim(0), [=] __device__(int64_t t) {
        // Each next rank is the smallest above the last one; tokens have few choices.
        int64_t last = -1;
        for (int64_t i = 0; i < most; ++i) {
            int64_t next = -1;
            for (int64_t j = 0; j < k; ++j) {
                const int64_t rank = choices[t * k + j] / experts_per_rank;
                if (rank > last && (next < 0 || rank < next)) next = rank;
            }
            out[t * most + i] = static_cast<int32_t>(next);
            if (next < 0) {
                for (int64_t rest = i + 1; rest < most; ++rest) out[t * most + rest] = -1;
                return;
            }
            last = next;
        }
    });
}

void choices_on_ranks(const Tensor& expert, const Tensor& order, int64_t copies_per_token,
                      const Tensor& offsets, int64_t experts_per_rank, const Tensor& local) {
    const int64_t k = expert.dim(1), num_ranks = offsets.numel() - 1;
    const int32_t *choices = expert.data<int32_t>(), *slots = order.data<int32_t>();
    const int64_t* starts = offsets.data<int64_t>();
    int32_t* out = local.data<int32_t>();
    for_each(local, local.numel(), [=] __device__(int64_t i) {
        const int64_t row = i / k, token = slots[row] / copies_per_token;
        int64_t rank = 0;
        while (rank + 1 < num_ranks && row >= starts[rank + 1]) ++rank;
        const int64_t number = choices[token * k + i % k] - rank * experts_per_rank;
        out[i] = number >= 0 && number < experts_per_rank ? static_cast<int32_t>(number) : -1;
    });
}

} // namespace braid::ops::cuda

#include "ops/basic/ordered_sum_kernels.h"

namespace braid::ops::cpu {
namespace {

template <typename T>
void add(const T* terms, int64_t num_terms, int64_t count, T* sum) {
    using Sum = Accumulation<T>;
#pragma omp parallel for schedule(static) if (count > 1 << 14)
    for (int64_t i = 0; i < count; ++i) {
        Sum total = static_cast<Sum>(terms[i]);
        for (int64_t r = 1; r < num_terms; ++r) total += static_cast<Sum>(terms[r * count + i]);
        sum[i] = static_cast<T>(total);
    }
}

} // namespace

void ordered_sum(const Tensor& terms, const Tensor& sum) {
    if (sum.dtype() == DType::i64)
        return add(terms.data<int64_t>(), terms.dim(0), sum.numel(), sum.data<int64_t>());
    dispatch_storage(sum.dtype(),
                     [&]<typename T>() { add(terms.data<T>(), terms.dim(0), sum.numel(), sum.data<T>()); });
}

} // namespace braid::ops::cpu

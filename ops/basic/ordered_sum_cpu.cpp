#include "ops/basic/ordered_sum_kernels.h"

namespace braid::ops::cpu {
namespace {

template <typename T>
void add(const T* pieces, int64_t num_pieces, int64_t count, T* sum) {
    using Sum = Accumulation<T>;
#pragma omp parallel for schedule(static) if (count > 1 << 14)
    for (int64_t i = 0; i < count; ++i) {
        Sum total = static_cast<Sum>(pieces[i]);
        for (int64_t r = 1; r < num_pieces; ++r) total += static_cast<Sum>(pieces[r * count + i]);
        sum[i] = static_cast<T>(total);
    }
}

} // namespace

void ordered_sum(const Tensor& pieces, const Tensor& sum) {
    if (sum.dtype() == DType::i64)
        return add(pieces.data<int64_t>(), pieces.dim(0), sum.numel(), sum.data<int64_t>());
    dispatch_storage(sum.dtype(),
                     [&]<typename T>() { add(pieces.data<T>(), pieces.dim(0), sum.numel(), sum.data<T>()); });
}

} // namespace braid::ops::cpu

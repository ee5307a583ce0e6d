#include "ops/basic/ordered_sum_kernels.h"

#include "tensor/cuda/for_each.h"

namespace braid::ops::cuda {
namespace {

using namespace braid::cuda;

template <typename T>
void add(const Tensor& terms, const Tensor& sum) {
    const T* in = terms.data<T>();
    T* out = sum.data<T>();
    const int64_t num_terms = terms.dim(0), count = sum.numel();
    for_each(sum, count, [=] __device__(int64_t i) {
        Accumulation<T> total = load(in[i]);
        for (int64_t r = 1; r < num_terms; ++r) total += load(in[r * count + i]);
        out[i] = static_cast<T>(total);
    });
}

} // namespace

void ordered_sum(const Tensor& terms, const Tensor& sum) {
    if (sum.dtype() == DType::i64) return add<int64_t>(terms, sum);
    dispatch_storage(sum.dtype(), [&]<typename T>() { add<T>(terms, sum); });
}

} // namespace braid::ops::cuda

#include "ops/compose/bodies_cpu.h"
#include "ops/compose/matrices-inl.h"
#include "ops/cpu/gemm.h"
#include "ops/cpu/parallel.h"
#include "ops/cpu/widen.h"

namespace braid::ops::cpu {

void batched_matmul(const Tensor& a, const Tensor& b, bool transpose_a, bool transpose_b, const Tensor& y) {
    const Tensor wide_a = widened(a), wide_b = widened(b);
    const Rounded result(y);
    const int64_t m = y.dim(1), n = y.dim(2), k = a.dim(transpose_a ? 1 : 2);
    dispatch_float(accumulation_dtype(y.dtype()), [&]<typename T>() {
        T* const out = result.data<T>();
        // A product of many is made by one thread, one of few by all.
        for_each_task(y.dim(0), y.dim(0) * m * n * k, [&](int64_t i) {
            gemm<T>(transpose_a, transpose_b, m, n, k, 1, wide_a.data<T>() + i * wide_a.row_stride(),
                    a.dim(2), wide_b.data<T>() + i * wide_b.row_stride(), b.dim(2), 0, out + i * m * n, n);
        });
    });
}

} // namespace braid::ops::cpu

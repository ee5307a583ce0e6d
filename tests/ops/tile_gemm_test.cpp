#include "ops/cpu/tile_gemm.h"

#include <cmath>

#include "tests/support/testing_context.h"

namespace braid::testing {
namespace {

using ops::cpu::tile_gemm;

/// The definition: one chain of fused multiply-adds per element.
template <typename T>
T chain(int64_t k, const T* a, int64_t a_column, const T* b, int64_t ldb, T start) {
    T sum = start;
    for (int64_t p = 0; p < k; ++p) sum = std::fma(a[p * a_column], b[p * ldb], sum);
    return sum;
}

template <typename T>
void expect_chains(int64_t m, int64_t n, int64_t k, bool transpose_a, bool accumulate) {
    Allocator allocator;
    constexpr DType kDType = dtype_of<T>();
    // one more row or column than needed, so that a read or write too far shows
    const int64_t lda = (transpose_a ? m : k) + 1, ldb = n + 3, ldc = n + 2;
    const Tensor a = random_tensor(allocator, {transpose_a ? k + 1 : m + 1, lda}, kDType, "a");
    const Tensor b = random_tensor(allocator, {k + 1, ldb}, kDType, "b");
    const Tensor c = random_tensor(allocator, {m + 1, ldc}, kDType, "c");
    const Tensor before = converted(allocator, c, kDType);
    const int64_t a_row = transpose_a ? 1 : lda, a_column = transpose_a ? lda : 1;
    tile_gemm(m, n, k, a.data<T>(), a_row, a_column, b.data<T>(), ldb, c.data<T>(), ldc, accumulate);
    for (int64_t i = 0; i <= m; ++i)
        for (int64_t j = 0; j < ldc; ++j) {
            const T old = before.data<T>()[i * ldc + j];
            const T expected = i < m && j < n ? chain(k, a.data<T>() + i * a_row, a_column, b.data<T>() + j,
                                                      ldb, accumulate ? old : T(0))
                                              : old;
            ASSERT_EQ(c.data<T>()[i * ldc + j], expected)
                << m << "x" << n << "x" << k << " transposed " << transpose_a << " at " << i << "," << j;
        }
}

TEST(tile_gemm, is_one_chain_of_fused_multiply_adds) {
    // around the register block (6 rows; 8 to 64 columns), the cache block (128) and the size that is packed
    for (const int64_t m : {0, 1, 5, 6, 19, 64})
        for (const int64_t n : {0, 1, 7, 16, 33, 65, 130})
            for (const int64_t k : {0, 1, 64, 128, 131, 259})
                for (const bool transpose_a : {false, true}) {
                    expect_chains<float>(m, n, k, transpose_a, k % 2 == 1);
                    expect_chains<double>(m, n, k, transpose_a, k % 2 == 0);
                }
}

} // namespace
} // namespace braid::testing

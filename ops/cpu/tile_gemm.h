#pragma once

#include <cstdint>

namespace braid::ops::cpu {

/// c[i, j] = sum_p a[i, p] b[p, j], or += with `accumulate`, on the calling thread and without memory of its
/// own: for tiles that stay in the second level cache. There it runs at 1.2 to 1.6 times the rate of one
/// OpenBLAS call, which packs both operands.
///
/// a is [m, k] with a[i, p] at a[i * a_row + p * a_column], so a transposed operand costs nothing; b is
/// [k, n] and c is [m, n], their rows ldb and ldc elements apart. c must not overlap a or b. Rows of a
/// transposed a, or of b, that lie a multiple of 1 KiB apart share few cache sets: pad such scratch.
///
/// Each element is one chain of fused multiply-adds in the order of p, starting from 0 or from c, so its bits
/// depend neither on the tile's sizes, nor on its place in the tile, nor on the kind of vector.
void tile_gemm(int64_t m, int64_t n, int64_t k, const float* a, int64_t a_row, int64_t a_column,
               const float* b, int64_t ldb, float* c, int64_t ldc, bool accumulate);
void tile_gemm(int64_t m, int64_t n, int64_t k, const double* a, int64_t a_row, int64_t a_column,
               const double* b, int64_t ldb, double* c, int64_t ldc, bool accumulate);

} // namespace braid::ops::cpu

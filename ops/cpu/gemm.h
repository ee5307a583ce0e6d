#pragma once

#include <cstdint>
#include <string>

namespace braid::ops::cpu {

/// C = alpha op(A) op(B) + beta C with row-major matrices, T float or double: op(A) is [m, k], op(B) [k, n],
/// C [m, n], and op(X) is Xᵀ where the flag says so. lda, ldb, ldc: elements between neighbouring rows of the
/// matrices as stored. With beta 0, C is not read; with k 0, C becomes beta C.
///
/// C is cut into tiles whose size depends on m, n and k alone; threads share tiles, and each tile is one
/// single-threaded OpenBLAS call. So the bits of C do not depend on the number of threads, nor on whether the
/// call comes from within a parallel region (where it runs on the calling thread).
template <typename T>
void gemm(bool transpose_a, bool transpose_b, int64_t m, int64_t n, int64_t k, T alpha, const T* a,
          int64_t lda, const T* b, int64_t ldb, T beta, T* c, int64_t ldc);

/// Version, options and kernel choice of the BLAS library at run time, in its own words.
std::string blas_description();
/// The processor family whose kernels the BLAS library has chosen, in its own words, such as Haswell.
std::string blas_kernels();

} // namespace braid::ops::cpu

#pragma once

#include <cstdint>

#include "tensor/tensor.h"

namespace braid::ops::cuda {

/// A row-major matrix in the memory of a GPU, `ld` elements between neighbouring rows; of a batch the first,
/// with the next one `stride` elements on (0: all are the same). f32, f64 or bf16.
struct Matrix {
    void* data;
    DType dtype;
    int64_t rows, columns, ld;
    int64_t stride = 0;
};

/// x [rows, columns], rows at any stride.
Matrix matrix_of(const Tensor& x);
/// x [n, rows, columns], packed but for dimension 0, as n matrices.
Matrix matrices_of(const Tensor& x);

/// C = alpha op(A) op(B) + beta C with op(A) [m, k], op(B) [k, n], C [m, n], and op(X) = Xᵀ where the flag
/// says so; of each of `count` matrices of a batch. C is `place`'s memory or lies beside it: the product runs
/// in the stream of place's allocator, with temporary memory from there.
///
/// A and B have one dtype, f32, f64 or bf16. C has that too, or is f32 beside bf16. Products of f32 are not
/// rounded to TF32, sums of bf16 are f32, and a C in bf16 is rounded once. With beta 0, C is not read; sizes
/// may be 0, but without terms (k = 0) beta is 0 or 1.
///
/// The library's algorithm is a function of shapes, strides and the alignment of the three addresses, none
/// adds with atomics: the same call gives the same bits.
void gemm(const Tensor& place, bool transpose_a, bool transpose_b, double alpha, const Matrix& a,
          const Matrix& b, double beta, const Matrix& c, int64_t count = 1);

/// Of cuBLASLt as loaded, as it counts: 120405 for 12.4.5.
int64_t cublaslt_version();

} // namespace braid::ops::cuda

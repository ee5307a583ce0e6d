#include "ops/compose/bodies_cuda.h"
#include "ops/compose/matrices-inl.h"
#include "ops/cuda/gemm.h"

namespace braid::ops::cuda {

void batched_matmul(const Tensor& a, const Tensor& b, bool transpose_a, bool transpose_b, const Tensor& y) {
    if (y.numel() == 0) return;
    gemm(y, transpose_a, transpose_b, 1, matrices_of(a), matrices_of(b), 0, matrices_of(y), y.dim(0));
}

} // namespace braid::ops::cuda

#pragma once

#include <span>

#include "ops/cpu/bf16_gemm.h"
#include "ops/cpu/widen.h"
#include "tensor/parameters/parameter.h"

namespace braid::ops::cpu {

// w.compute_value() as kernels read it. What is made of a bf16 one here is kept until the values change.

/// For kernels that compute in f32 or f64.
Tensor widened_weights(const Parameter& w);

/// Whether the products of x with weights are oneDNN's.
inline bool uses_onednn(const Tensor& x) {
    return x.dtype() == DType::bf16 && bf16_gemm() == Bf16Gemm::onednn;
}

/// For oneDNN, one matrix a group of w [out, in] or [groups, out, in]: wᵀ, as forward needs it, or w, as the
/// data gradient does.
std::span<const PackedMatrix> packed_transposed_weights(const Parameter& w);
std::span<const PackedMatrix> packed_weights(const Parameter& w);

} // namespace braid::ops::cpu

#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "tensor/tensor.h"

namespace braid::ops::cpu {

// Products of bf16 matrices with f32 sums, by oneDNN. Work is cut into tiles whose size depends on the shapes
// alone; threads share tiles, and each tile is one single-threaded call, so that bits do not depend on the
// number of threads.

/// How products of bf16 matrices are made.
enum class Bf16Gemm {
    onednn,  // by the functions below
    widened, // by OpenBLAS, in f32: faster where the processor has no bf16 instructions, as every product of
             // two bf16 numbers is exact in f32
};
/// onednn if the processor has bf16 instructions (AVX-512 BF16 or AMX) and the build has oneDNN.
Bf16Gemm bf16_gemm();
/// Whether oneDNN can multiply bf16 here, with bf16 instructions or by emulating them (AVX-512).
bool can_use_onednn();
/// Overrules the choice, for tests and benchmarks; not while operations run.
void set_bf16_gemm(Bf16Gemm choice);

/// A bf16 matrix B [k, n] in the layout that oneDNN reads fastest on this processor.
class PackedMatrix {
  public:
    /// b: rows of B with `ld` elements between them; with `transposed`, rows of Bᵀ.
    PackedMatrix(Allocator& allocator, bool transposed, int64_t k, int64_t n, const bf16* b, int64_t ld);

    int64_t rows() const { return k_; }
    int64_t columns() const { return n_; }

  private:
    friend struct PackedProduct;
    int64_t k_, n_;
    std::vector<Tensor> panels_; // of kPanelColumns columns, u8
};

/// y[r] = x[r] B_g for the rows offsets[g] <= r < offsets[g + 1] of each group g: x bf16 [R, k] (rows may be
/// strided), y f32 or bf16 [R, n].
void multiply_packed(const Tensor& x, std::span<const PackedMatrix> b, std::span<const int64_t> offsets,
                     const Tensor& y);
/// dw_g += sum over the rows r of group g of dy[r]ᵀ x[r]: dy bf16 [R, out], x bf16 [R, in], dw f32 [groups,
/// out, in].
void add_outer_products(const Tensor& dy, const Tensor& x, std::span<const int64_t> offsets,
                        const Tensor& dw);

/// oneDNN's version and the instructions it uses here; "none" in a build without it.
std::string onednn_description();

} // namespace braid::ops::cpu

#pragma once

#include "ops/attention/attention_spans_cuda.h"
#include "ops/cuda/tensor_core_tile.h"

// Attention of bf16 on tensor cores. A block of four warps takes a tile of 64 rows of one matrix, 16 a warp,
// and meets the tiles of another one after the other, the next one being copied meanwhile. Logits, and what
// is made of them, never leave registers: the C of one product is the A of the next (Dao,
// arXiv:2307.08691, 3.1).
namespace braid::ops::cuda {

constexpr int kWarpRows = 16, kTileRows = 64, kAttentionThreads = kTileRows / kWarpRows * 32;

/// The forward and backward of attention.cu's kernels for bf16; false where heads are larger than these take,
/// or than the device has the shared memory for.
bool tensor_core_attention_forward(const AttentionProblem& problem, const Tensor& q, const Tensor& k,
                                   const Tensor& v, const Tensor& o, const Tensor& row_max,
                                   const Tensor& row_sum);
bool tensor_core_attention_backward(const AttentionProblem& problem, const Tensor& q, const Tensor& k,
                                    const Tensor& v, const Tensor& row_max, const Tensor& row_sum,
                                    const Tensor& delta, const Tensor& d_o, const Tensor& dq,
                                    const Tensor& dk, const Tensor& dv);

/// What body.template operator()<kKeySize, kValueSize>() says, with the least sizes of tiles that hold heads
/// of d and dv; false where there are none such.
template <typename Body>
bool dispatch_head_sizes(int64_t d, int64_t dv, const Body& body) {
    if (d <= 64 && dv <= 64) return body.template operator()<64, 64>();
    if (d <= 128 && dv <= 128) return body.template operator()<128, 128>();
    if (d <= 192 && dv <= 128) return body.template operator()<192, 128>(); // DeepSeek's MLA
    if (d <= 256 && dv <= 256) return body.template operator()<256, 256>();
    return false;
}

__device__ __forceinline__ int warp_first_row() {
    return static_cast<int>(threadIdx.x) / 32 * kWarpRows;
}

/// A matrix [16, kColumns] of a warp, as multiply_add has it.
template <int kColumns>
struct WarpMatrix {
    static constexpr int kBlocks = kColumns / 8;
    float at[kBlocks][4] = {};

    /// Of element i of any block, among the warp's rows; of block n, among the columns.
    static __device__ __forceinline__ int row(int i) {
        return static_cast<int>(threadIdx.x) % 32 / 4 + i / 2 * 8;
    }
    static __device__ __forceinline__ int column(int n, int i) {
        return 8 * n + static_cast<int>(threadIdx.x) % 4 * 2 + i % 2;
    }

    /// Calls body(row(i), column(n, i), element).
    template <typename Body>
    __device__ __forceinline__ void for_each(const Body& body) {
#pragma unroll
        for (int n = 0; n < kBlocks; ++n)
#pragma unroll
            for (int i = 0; i < 4; ++i) body(row(i), column(n, i), at[n][i]);
    }

    /// += a bᵀ with this warp's rows of a [64, kDepth] and b [kColumns, kDepth].
    template <int kDepth>
    __device__ __forceinline__ void add_rows_by_rows(const TensorCoreTile<kDepth>& a,
                                                     const TensorCoreTile<kDepth>& b) {
#pragma unroll 4
        for (int k = 0; k < kDepth; k += 16) {
            uint32_t left[4];
            a.load_left(warp_first_row(), k, left);
#pragma unroll
            for (int n = 0; n < kBlocks; n += 2) {
                uint32_t right[2][2];
                b.load_right_transposed(8 * n, k, right);
                multiply_add(at[n], left, right[0]);
                multiply_add(at[n + 1], left, right[1]);
            }
        }
    }

    /// += a b with a rounded to bf16 and b [64, kColumns].
    __device__ __forceinline__ void add_product(const WarpMatrix<kTileRows>& a,
                                                const TensorCoreTile<kColumns>& b) {
#pragma unroll
        for (int k = 0; k < kTileRows; k += 16) {
            const float(&low)[4] = a.at[k / 8], (&high)[4] = a.at[k / 8 + 1];
            const uint32_t left[4] = {pack_bf16(low[0], low[1]), pack_bf16(low[2], low[3]),
                                      pack_bf16(high[0], high[1]), pack_bf16(high[2], high[3])};
#pragma unroll
            for (int n = 0; n < kBlocks; n += 2) {
                uint32_t right[2][2];
                b.load_right(k, 8 * n, right);
                multiply_add(at[n], left, right[0]);
                multiply_add(at[n + 1], left, right[1]);
            }
        }
    }
};

/// Over the four lanes that hold a row of a WarpMatrix.
__device__ __forceinline__ float quad_sum(float value) {
    for (int lanes = 2; lanes > 0; lanes /= 2) value += __shfl_xor_sync(0xffffffffu, value, lanes);
    return value;
}
__device__ __forceinline__ float quad_max(float value) {
    for (int lanes = 2; lanes > 0; lanes /= 2) {
        const float other = __shfl_xor_sync(0xffffffffu, value, lanes);
        value = other > value ? other : value;
    }
    return value;
}

/// Whether all positions of 64 from `position` on see all of 64 keys from `key` on.
__device__ __forceinline__ bool sees_all(const Spans& spans, int64_t position, int64_t key) {
    return spans.sees(position, key + kTileRows - 1) && spans.sees(position + kTileRows - 1, key);
}

/// Starts to copy a tile of `rows` rows of head `head`, from row `first` on.
template <int kSize>
__device__ __forceinline__ void copy_heads(const HeadRows<const bf16>& x, int64_t first, int64_t head,
                                           int64_t rows, bf16* tile) {
    TensorCoreTile<kSize>(tile).template copy<kTileRows, kAttentionThreads>(x(first, head), x.stride, rows,
                                                                            x.size);
}

} // namespace braid::ops::cuda

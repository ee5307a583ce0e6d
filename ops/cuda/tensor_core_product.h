#pragma once

#include "ops/cuda/tensor_core_tile.h"
#include "ops/cuda/tile_product.h"

namespace braid::ops::cuda {

/// What TileProduct is for bf16 on tensor cores, with its conventions: one tile of C = A B by a block of
/// kThreads threads, sums in f32 and in ascending steps of 16. Tiles wait in shared memory as bf16, kStages
/// steps deep, in lines as memory has them. Each of the 8 warps multiplies 64 rows by 32 columns.
template <bool kDeepA, bool kDeepB>
class TensorCoreProduct {
  public:
    using Sum = float;
    static constexpr int kRows = 128, kColumns = 128, kDepth = 64, kStages = 3;

    struct alignas(128) Shared {
        bf16 a[kStages][kRows * kDepth], b[kStages][kColumns * kDepth];
    };

    /// += the product of A's rows from `row` on and B's columns from `column` on, over `depth`.
    __device__ __forceinline__ void add(const Lines<bf16>& a, const Lines<bf16>& b, int64_t row,
                                        int64_t column, int64_t depth, Shared& shared) {
        const int64_t steps = (depth + kDepth - 1) / kDepth;
        const auto fetch_step = [&](int64_t step) {
            if (step < steps) {
                fetch<kDeepA>(a, row, step * kDepth, shared.a[step % kStages]);
                fetch<kDeepB>(b, column, step * kDepth, shared.b[step % kStages]);
            }
            end_copies(); // also of nothing: steps are counted by groups
        };
        __syncthreads(); // the call before has been read
        for (int64_t step = 0; step < kStages - 1; ++step) fetch_step(step);
        for (int64_t step = 0; step < steps; ++step) {
            wait_for_copies<kStages - 2>();
            __syncthreads();                // this step has come for all, and the one before has been read
            fetch_step(step + kStages - 1); // into its place
            multiply(TileA(shared.a[step % kStages]), TileB(shared.b[step % kStages]));
        }
    }

    /// Calls body(row, column, sum) for the elements of the tile that this thread holds.
    template <typename Body>
    __device__ __forceinline__ void for_each(Shared&, const Body& body) const {
        const int lane = static_cast<int>(threadIdx.x) % 32;
        const int first_row = warp_row() + lane / 4, first_column = warp_column() + lane % 4 * 2;
#pragma unroll
        for (int m = 0; m < kRowBlocks; ++m)
#pragma unroll
            for (int n = 0; n < kColumnBlocks; ++n)
#pragma unroll
                for (int i = 0; i < 4; ++i)
                    body(first_row + 16 * m + i / 2 * 8, first_column + 8 * n + i % 2, sum_[m][n][i]);
    }

  private:
    static constexpr int kRowBlocks = 4, kColumnBlocks = 4;
    static_assert(kRows == kColumns && kRows == 2 * 16 * kRowBlocks && kColumns == 4 * 8 * kColumnBlocks &&
                  braid::cuda::kThreads == 256);

    using TileA = TensorCoreTile<kDeepA ? kDepth : kRows>;
    using TileB = TensorCoreTile<kDeepB ? kDepth : kColumns>;

    static __device__ __forceinline__ int warp_row() {
        return static_cast<int>(threadIdx.x) / 128 * 64;
    }
    static __device__ __forceinline__ int warp_column() {
        return static_cast<int>(threadIdx.x) / 32 % 4 * 32;
    }

    /// Copies a tile: kRows lines of kDepth where the depth runs along lines (kDeep), else the other way
    /// round.
    template <bool kDeep>
    static __device__ __forceinline__ void fetch(const Lines<bf16>& from, int64_t first_side,
                                                 int64_t first_depth, bf16* to) {
        const int64_t line = kDeep ? first_side : first_depth, at = kDeep ? first_depth : first_side;
        const TensorCoreTile<kDeep ? kDepth : kRows> tile(to);
        tile.template copy<kDeep ? kRows : kDepth, braid::cuda::kThreads>(
            from.data + line * from.stride + at, from.stride, from.lines - line, from.length - at);
    }

    __device__ __forceinline__ void multiply(const TileA& a, const TileB& b) {
#pragma unroll
        for (int k = 0; k < kDepth; k += 16) {
            uint32_t left[kRowBlocks][4], right[kColumnBlocks / 2][2][2];
#pragma unroll
            for (int m = 0; m < kRowBlocks; ++m)
                if constexpr (kDeepA)
                    a.load_left(warp_row() + 16 * m, k, left[m]);
                else
                    a.load_left_transposed(k, warp_row() + 16 * m, left[m]);
#pragma unroll
            for (int n = 0; n < kColumnBlocks / 2; ++n)
                if constexpr (kDeepB)
                    b.load_right_transposed(warp_column() + 16 * n, k, right[n]);
                else
                    b.load_right(k, warp_column() + 16 * n, right[n]);
#pragma unroll
            for (int m = 0; m < kRowBlocks; ++m)
#pragma unroll
                for (int n = 0; n < kColumnBlocks; ++n)
                    multiply_add(sum_[m][n], left[m], right[n / 2][n % 2]);
        }
    }

    float sum_[kRowBlocks][kColumnBlocks][4] = {};
};

} // namespace braid::ops::cuda

#pragma once

#include "ops/cuda/tensor_core.h"

namespace braid::ops::cuda {

/// A matrix of bf16 in shared memory, in lines of kLength (a multiple of 64) numbers. Within a line the
/// chunks of 8 numbers change places (chunk c of line l lies at c ^ (l % 8)), so that the 8 rows that
/// load_matrices reads at once lie in different banks.
///
/// The functions give a warp the operands of multiply_add from the [16, 16] block that begins at a line and a
/// column: all lanes call them together.
template <int kLength>
class TensorCoreTile {
  public:
    static constexpr int kChunk = 8;
    static_assert(kLength % 64 == 0);

    __device__ __forceinline__ explicit TensorCoreTile(bf16* data) : data_(data) {}

    /// A = the block.
    __device__ __forceinline__ void load_left(int line, int column, uint32_t (&to)[4]) const {
        load_matrices<false>(to, row(line + matrix() % 2 * 8, column + matrix() / 2 * 8));
    }
    /// A = the block, transposed.
    __device__ __forceinline__ void load_left_transposed(int line, int column, uint32_t (&to)[4]) const {
        load_matrices<true>(to, row(line + matrix() / 2 * 8, column + matrix() % 2 * 8));
    }
    /// Two B, of 8 columns each: the block.
    __device__ __forceinline__ void load_right(int line, int column, uint32_t (&to)[2][2]) const {
        load_pair<true>(to, row(line + matrix() % 2 * 8, column + matrix() / 2 * 8));
    }
    /// Two B, of 8 columns each: the block, transposed.
    __device__ __forceinline__ void load_right_transposed(int line, int column, uint32_t (&to)[2][2]) const {
        load_pair<false>(to, row(line + matrix() / 2 * 8, column + matrix() % 2 * 8));
    }

    /// Sets `kLines` lines, by the block's kThreads threads, to those of x, of which there are `lines` of
    /// `length` numbers, `stride` apart; zeros where x has ended. Of lines at multiples of 16 bytes copies
    /// are started, and are under way until end_copies and wait_for_copies.
    template <int kLines, int kThreads>
    __device__ __forceinline__ void copy(const bf16* x, int64_t stride, int64_t lines, int64_t length) const {
        constexpr int kChunks = kLength / kChunk, kCopies = kLines * kChunks / kThreads;
        static_assert(kLines * kChunks % kThreads == 0);
        if (reinterpret_cast<uintptr_t>(x) % 16 == 0 && stride % kChunk == 0) {
#pragma unroll
            for (int i = 0; i < kCopies; ++i) {
                const int number = static_cast<int>(threadIdx.x) + i * kThreads;
                const int line = number / kChunks, chunk = number % kChunks;
                const int used = numbers_in(line, chunk, lines, length);
                start_copy(place(line, chunk), used > 0 ? x + line * stride + chunk * kChunk : x,
                           used * static_cast<int>(sizeof(bf16)));
            }
            return;
        }
#pragma unroll 1
        for (int i = 0; i < kCopies; ++i) {
            const int number = static_cast<int>(threadIdx.x) + i * kThreads;
            const int line = number / kChunks, chunk = number % kChunks;
            const int used = numbers_in(line, chunk, lines, length);
            bf16* const to = place(line, chunk);
#pragma unroll 1
            for (int e = 0; e < kChunk; ++e)
                to[e] = e < used ? x[line * stride + chunk * kChunk + e] : bf16();
        }
    }

  private:
    /// What the lane names the row of: number threadIdx.x % 8 of this one of the four matrices.
    static __device__ __forceinline__ int matrix() {
        return static_cast<int>(threadIdx.x) % 32 / 8;
    }
    static __device__ __forceinline__ int numbers_in(int line, int chunk, int64_t lines, int64_t length) {
        const int64_t left = line < lines ? length - chunk * kChunk : 0;
        return left <= 0 ? 0 : left < kChunk ? static_cast<int>(left) : kChunk;
    }
    __device__ __forceinline__ bf16* place(int line, int chunk) const {
        return data_ + line * kLength + (chunk ^ (line & 7)) * kChunk;
    }
    __device__ __forceinline__ const bf16* row(int first_line, int column) const {
        return place(first_line + static_cast<int>(threadIdx.x) % 8, column / kChunk);
    }
    template <bool kTransposed>
    static __device__ __forceinline__ void load_pair(uint32_t (&to)[2][2], const bf16* row) {
        uint32_t all[4];
        load_matrices<kTransposed>(all, row);
        to[0][0] = all[0], to[0][1] = all[1], to[1][0] = all[2], to[1][1] = all[3];
    }

    bf16* data_;
};

} // namespace braid::ops::cuda

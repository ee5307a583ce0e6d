#pragma once

#include "tensor/cuda/launch.h"

namespace braid::ops::cuda {

/// A matrix in device memory as a tile product reads it: `lines` of `length` neighbouring numbers, `stride`
/// elements apart.
template <typename T>
struct Lines {
    const T* data;
    int64_t stride, lines, length;
};

/// One tile of C = A B by a block of kThreads threads, in steps of kDepth of the sums, which run in ascending
/// order. A tile of A is [kRows, kDepth], of B [kDepth, kColumns]. With kDeepA the lines of A are its rows,
/// so that the depth runs along them; else they are its columns. With kDeepB the lines of B are its columns,
/// else its rows. T is stored; sums are Accumulation<T>.
///
/// A step goes from memory to registers (fetch), while the one before is multiplied, and from there to shared
/// memory (stage).
template <typename T, bool kDeepA, bool kDeepB>
class TileProduct {
  public:
    using Sum = Accumulation<T>;
    static constexpr int kRows = 64, kColumns = 64, kDepth = 16;

    /// Rows by depth and depth by columns, both with the depth outermost.
    struct alignas(16) Shared {
        static constexpr int kPitch = 64 + 4;
        Sum a[kDepth][kPitch], b[kDepth][kPitch];
    };

    __device__ __forceinline__ TileProduct() {
#pragma unroll
        for (int i = 0; i < kPerThread; ++i)
#pragma unroll
            for (int j = 0; j < kPerThread; ++j) sum_[i][j] = 0;
    }

    /// += the product of A's rows from `row` on and B's columns from `column` on, over `depth`.
    __device__ __forceinline__ void add(const Lines<T>& a, const Lines<T>& b, int64_t row, int64_t column,
                                        int64_t depth, Shared& shared) {
        fetch<kDeepA>(a, row, 0, a_);
        fetch<kDeepB>(b, column, 0, b_);
        for (int64_t first = 0; first < depth; first += kDepth) {
            __syncthreads(); // the step before has been read
            stage<kDeepA>(a_, shared.a);
            stage<kDeepB>(b_, shared.b);
            __syncthreads();
            if (first + kDepth < depth) {
                fetch<kDeepA>(a, row, first + kDepth, a_);
                fetch<kDeepB>(b, column, first + kDepth, b_);
            }
            multiply(shared);
        }
    }

    /// Calls body(row, column, sum) for the elements of the tile that this thread holds.
    template <typename Body>
    __device__ __forceinline__ void for_each(Shared&, const Body& body) const {
#pragma unroll
        for (int i = 0; i < kPerThread; ++i)
#pragma unroll
            for (int j = 0; j < kPerThread; ++j)
                body(thread_row() * kPerThread + i, thread_column() * kPerThread + j, sum_[i][j]);
    }

  private:
    static constexpr int kPerThread = 4, kFetched = kRows * kDepth / braid::cuda::kThreads;
    static_assert(kRows == kColumns && kRows == 16 * kPerThread && braid::cuda::kThreads == 256);

    struct alignas(4 * sizeof(Sum) < 16 ? 4 * sizeof(Sum) : 16) Quad {
        Sum at[kPerThread];
    };

    static __device__ __forceinline__ int thread_row() {
        return static_cast<int>(threadIdx.x) / 16;
    }
    static __device__ __forceinline__ int thread_column() {
        return static_cast<int>(threadIdx.x) % 16;
    }

    /// Number i of what a thread moves: where it lies along A's rows (or B's columns) and along the depth, so
    /// that neighbouring threads read neighbouring numbers.
    template <bool kDeep>
    static __device__ __forceinline__ void place(int i, int& side, int& depth) {
        const int at = static_cast<int>(threadIdx.x) + i * braid::cuda::kThreads;
        side = kDeep ? at / kDepth : at % kRows;
        depth = kDeep ? at % kDepth : at / kRows;
    }

    template <bool kDeep>
    static __device__ __forceinline__ void fetch(const Lines<T>& from, int64_t first_side,
                                                 int64_t first_depth, Sum (&to)[kFetched]) {
#pragma unroll
        for (int i = 0; i < kFetched; ++i) {
            int side, depth;
            place<kDeep>(i, side, depth);
            const int64_t line = kDeep ? first_side + side : first_depth + depth,
                          at = kDeep ? first_depth + depth : first_side + side;
            to[i] = line < from.lines && at < from.length
                        ? braid::cuda::load(from.data[line * from.stride + at])
                        : Sum(0);
        }
    }

    template <bool kDeep>
    static __device__ __forceinline__ void stage(const Sum (&from)[kFetched],
                                                 Sum (&to)[kDepth][Shared::kPitch]) {
#pragma unroll
        for (int i = 0; i < kFetched; ++i) {
            int side, depth;
            place<kDeep>(i, side, depth);
            to[depth][side] = from[i];
        }
    }

    __device__ __forceinline__ void multiply(const Shared& shared) {
#pragma unroll
        for (int k = 0; k < kDepth; ++k) {
            const Quad a = *reinterpret_cast<const Quad*>(&shared.a[k][thread_row() * kPerThread]),
                       b = *reinterpret_cast<const Quad*>(&shared.b[k][thread_column() * kPerThread]);
#pragma unroll
            for (int i = 0; i < kPerThread; ++i)
#pragma unroll
                for (int j = 0; j < kPerThread; ++j) sum_[i][j] += a.at[i] * b.at[j];
        }
    }

    Sum sum_[kPerThread][kPerThread], a_[kFetched], b_[kFetched];
};

} // namespace braid::ops::cuda

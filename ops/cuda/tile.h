#pragma once

#include "tensor/cuda/launch.h"

namespace braid::ops::cuda {

// Products of small matrices by one block of kTileThreads threads. Operands lie in shared memory, in rows
// that start at multiples of 16 bytes and hold zeros where the matrix has ended; results are tiles in
// registers. A product sums in ascending order of its depth, a multiple of 4.

constexpr int kTileThreads = 128;
constexpr int kSide = 64;         // rows of a tile
constexpr int kPitch = kSide + 4; // of square matrices in shared memory: neighbouring rows in other banks

/// The depth of a product over `used` columns, of which the last are zeros.
__host__ __device__ constexpr int padded_depth(int used) {
    return (used + 3) / 4 * 4;
}

/// Rows or columns of a tile that begins at `first` of `size`.
__host__ __device__ constexpr int tile_extent(int size, int first) {
    return size - first < kSide ? size - first : kSide;
}

/// Four neighbours in a row, read at once.
template <typename T>
struct alignas(16) Quad {
    T at[4];
};

template <typename T>
__device__ __forceinline__ Quad<T> load_quad(const T* x) {
    return *reinterpret_cast<const Quad<T>*>(x);
}

/// The sums of a [64, kColumns] matrix, spread over the block: a thread holds kRows neighbouring rows of
/// every 16th column.
template <typename T, int kColumns = kSide>
struct Tile {
    static constexpr int kRows = kSide * 16 / kTileThreads, kPerRow = kColumns / 16;
    T sum[kRows][kPerRow];

    __device__ __forceinline__ Tile() {
#pragma unroll
        for (int r = 0; r < kRows; ++r)
#pragma unroll
            for (int c = 0; c < kPerRow; ++c) sum[r][c] = 0;
    }

    static __device__ __forceinline__ int row(int r) {
        return static_cast<int>(threadIdx.x) / 16 * kRows + r;
    }
    static __device__ __forceinline__ int column(int c) {
        return static_cast<int>(threadIdx.x) % 16 + 16 * c;
    }

    /// Calls body(row, column, sum) for every element of this thread.
    template <typename Body>
    __device__ __forceinline__ void for_each(const Body& body) {
#pragma unroll
        for (int r = 0; r < kRows; ++r)
#pragma unroll
            for (int c = 0; c < kPerRow; ++c) body(row(r), column(c), sum[r][c]);
    }

    /// += a b with a [64, depth], b [depth, kColumns].
    __device__ __forceinline__ void add_product(int depth, const T* a, int lda, const T* b, int ldb) {
        a += row(0) * lda;
        b += column(0);
        for (int k = 0; k < depth; k += 4) {
            T right[4][kPerRow];
#pragma unroll
            for (int d = 0; d < 4; ++d)
#pragma unroll
                for (int c = 0; c < kPerRow; ++c) right[d][c] = b[(k + d) * ldb + 16 * c];
#pragma unroll
            for (int r = 0; r < kRows; ++r) {
                const Quad<T> left = load_quad(a + r * lda + k);
#pragma unroll
                for (int d = 0; d < 4; ++d)
#pragma unroll
                    for (int c = 0; c < kPerRow; ++c) sum[r][c] += left.at[d] * right[d][c];
            }
        }
    }

    /// += aᵀ b with a [depth, 64], b [depth, kColumns].
    __device__ __forceinline__ void add_transposed_product(int depth, const T* a, int lda, const T* b,
                                                           int ldb) {
        a += row(0);
        b += column(0);
#pragma unroll 4
        for (int k = 0; k < depth; ++k) {
            T right[kPerRow];
#pragma unroll
            for (int c = 0; c < kPerRow; ++c) right[c] = b[k * ldb + 16 * c];
#pragma unroll
            for (int r = 0; r < kRows; r += 4) {
                const Quad<T> left = load_quad(a + k * lda + r);
#pragma unroll
                for (int d = 0; d < 4; ++d)
#pragma unroll
                    for (int c = 0; c < kPerRow; ++c) sum[r + d][c] += left.at[d] * right[c];
            }
        }
    }

    /// += a bᵀ with a [64, depth], b [kColumns, depth].
    __device__ __forceinline__ void add_product_transposed(int depth, const T* a, int lda, const T* b,
                                                           int ldb) {
        a += row(0) * lda;
        b += column(0) * ldb;
        for (int k = 0; k < depth; k += 4) {
            Quad<T> right[kPerRow];
#pragma unroll
            for (int c = 0; c < kPerRow; ++c) right[c] = load_quad(b + 16 * c * ldb + k);
#pragma unroll
            for (int r = 0; r < kRows; ++r) {
                const Quad<T> left = load_quad(a + r * lda + k);
#pragma unroll
                for (int d = 0; d < 4; ++d)
#pragma unroll
                    for (int c = 0; c < kPerRow; ++c) sum[r][c] += left.at[d] * right[c].at[d];
            }
        }
    }
};

/// out [64, columns] in shared memory, rows `pitch` apart = the [rows, used] matrix x, in x's numbers
/// widened, and zeros around it.
template <typename T, typename Stored>
__device__ __forceinline__ void load_rows(const Stored* x, int64_t stride, int rows, int used, T* out,
                                          int columns, int pitch) {
    const int warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
#pragma unroll 4
    for (int i = warp; i < kSide; i += kTileThreads / 32)
        for (int j = lane; j < columns; j += 32)
            out[i * pitch + j] = i < rows && j < used ? braid::cuda::load(x[i * stride + j]) : T(0);
}

/// The same for a square matrix.
template <typename T, typename Stored>
__device__ __forceinline__ void load_square(const Stored* x, int64_t stride, int rows, int used, T* out) {
    load_rows(x, stride, rows, used, out, kSide, kPitch);
}

/// x += a bᵀ over `depth` columns of row-major a [rows, depth] and b [width, depth]. work: two squares.
template <typename T, typename Left, typename Right>
__device__ void add_rows_product(Tile<T>& x, int depth, const Left* a, int64_t a_stride, int rows,
                                 const Right* b, int64_t b_stride, int width, T* work) {
    for (int first = 0; first < depth; first += kSide) {
        const int used = tile_extent(depth, first);
        __syncthreads();
        load_square(a + first, a_stride, rows, used, work);
        load_square(b + first, b_stride, width, used, work + kSide * kPitch);
        __syncthreads();
        x.add_product_transposed(padded_depth(used), work, kPitch, work + kSide * kPitch, kPitch);
    }
}

/// The sum over the 16 threads that share rows of a tile, on all of them.
template <typename T>
__device__ __forceinline__ T row_sum(T value) {
    for (int lanes = 8; lanes > 0; lanes /= 2) value += __shfl_xor_sync(0xffffffffu, value, lanes);
    return value;
}

} // namespace braid::ops::cuda

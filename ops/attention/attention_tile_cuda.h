#pragma once

#include <limits>

#include "ops/attention/attention_spans_cuda.h"

// What the passes of attention share: a block of kThreads threads takes a tile of kSide rows of one matrix
// and meets the tiles of another one after the other. bf16 is widened in shared memory.
namespace braid::ops::cuda {

/// Elements between the rows of a tile in shared memory: full fours, an odd number of them, so that the same
/// four of neighbouring rows lie in other banks.
__host__ __device__ constexpr int pitch_of(int64_t size) {
    return 4 * ((static_cast<int>(size) + 3) / 4 | 1);
}

/// tile [kSide, size] = factor times `rows` rows of x, zeros below them and up to full fours of columns.
template <int kSide, typename T, typename Stored>
__device__ __forceinline__ void load_tile(const Stored* x, int64_t stride, int64_t rows, int size, T factor,
                                          T* tile) {
    const int pitch = pitch_of(size), padded = (size + 3) / 4 * 4;
    for (int i = static_cast<int>(threadIdx.x) / 32; i < kSide; i += braid::cuda::kThreads / 32)
        for (int j = static_cast<int>(threadIdx.x) % 32; j < padded; j += 32)
            tile[i * pitch + j] = i < rows && j < size ? factor * braid::cuda::load(x[i * stride + j]) : T(0);
}

/// A matrix [kSide, kSide] over the threads of a block: each holds kHeld neighbouring rows of every 16th
/// column, so that the 16 lanes of half a warp hold whole rows.
template <typename T, int kSide>
struct Square {
    static constexpr int kHeld = kSide / 16;
    static_assert(braid::cuda::kThreads == 256);
    T at[kHeld][kHeld] = {};

    struct alignas(16) Four {
        T at[4];
    };

    static __device__ __forceinline__ int row(int i) {
        return static_cast<int>(threadIdx.x) / 16 * kHeld + i;
    }
    static __device__ __forceinline__ int column(int j) {
        return static_cast<int>(threadIdx.x) % 16 + 16 * j;
    }

    /// += a bᵀ with a, b [kSide, size], in tiles.
    __device__ __forceinline__ void add_rows_by_rows(const T* a, const T* b, int size) {
        const int pitch = pitch_of(size);
        for (int k = 0; k < size; k += 4) {
            Four right[kHeld];
#pragma unroll
            for (int j = 0; j < kHeld; ++j)
                right[j] = *reinterpret_cast<const Four*>(b + column(j) * pitch + k);
#pragma unroll
            for (int i = 0; i < kHeld; ++i) {
                const Four left = *reinterpret_cast<const Four*>(a + row(i) * pitch + k);
#pragma unroll
                for (int j = 0; j < kHeld; ++j)
#pragma unroll
                    for (int c = 0; c < 4; ++c) at[i][j] += left.at[c] * right[j].at[c];
            }
        }
    }

    /// += a b, or aᵀ b, with a [kSide, kSide] and columns from `first` on of b [kSide, size]. Columns that b
    /// does not have come out as anything.
    template <bool kTransposed>
    __device__ __forceinline__ void add_square_by(const T* a, const T* b, int size, int first) {
        constexpr int kPitch = pitch_of(kSide);
        const int pitch = pitch_of(size);
        int columns[kHeld];
#pragma unroll
        for (int j = 0; j < kHeld; ++j) columns[j] = first + column(j) < size ? first + column(j) : size - 1;
        for (int k = 0; k < kSide; k += 4) {
            T right[4][kHeld];
#pragma unroll
            for (int c = 0; c < 4; ++c)
#pragma unroll
                for (int j = 0; j < kHeld; ++j) right[c][j] = b[(k + c) * pitch + columns[j]];
#pragma unroll
            for (int i = 0; i < kHeld; ++i)
#pragma unroll
                for (int c = 0; c < 4; ++c) {
                    const T left = kTransposed ? a[(k + c) * kPitch + row(i)] : a[row(i) * kPitch + k + c];
#pragma unroll
                    for (int j = 0; j < kHeld; ++j) at[i][j] += left * right[c][j];
                }
        }
    }

    /// Writes it as a tile [kSide, kSide].
    __device__ __forceinline__ void store(T* tile) const {
#pragma unroll
        for (int i = 0; i < kHeld; ++i)
#pragma unroll
            for (int j = 0; j < kHeld; ++j) tile[row(i) * pitch_of(kSide) + column(j)] = at[i][j];
    }
};

/// Calls body(i, j, row, column) for the elements of a tile [kSide, size] that this thread holds, i and j as
/// in the Square that starts at column `first`.
template <typename T, int kSide, typename Body>
__device__ __forceinline__ void for_held(int size, int first, const Body& body) {
    using Part = Square<T, kSide>;
#pragma unroll
    for (int i = 0; i < Part::kHeld; ++i)
#pragma unroll
        for (int j = 0; j < Part::kHeld; ++j)
            if (first + Part::column(j) < size) body(i, j, Part::row(i), first + Part::column(j));
}

/// sum [kSide, size] += square b, or squareᵀ b: each thread to what it holds, after multiplying that by
/// `keep` of its rows.
template <bool kTransposed, int kSide, typename T>
__device__ __forceinline__ void accumulate(const T* square, const T* b, int size, const T (&keep)[kSide / 16],
                                           T* sum) {
    for (int first = 0; first < size; first += kSide) {
        Square<T, kSide> part;
        part.template add_square_by<kTransposed>(square, b, size, first);
        for_held<T, kSide>(size, first, [&](int i, int j, int row, int column) {
            T& to = sum[row * pitch_of(size) + column];
            to = keep[i] * to + part.at[i][j];
        });
    }
}

/// Sets all that this thread holds of sum [kSide, size] to zero.
template <int kSide, typename T>
__device__ __forceinline__ void clear(int size, T* sum) {
    for (int first = 0; first < size; first += kSide)
        for_held<T, kSide>(size, first,
                           [&](int, int, int row, int column) { sum[row * pitch_of(size) + column] = 0; });
}

/// Over the 16 lanes that hold a row.
template <typename T>
__device__ __forceinline__ T row_sum(T value) {
    for (int lanes = 8; lanes > 0; lanes /= 2) value += __shfl_xor_sync(0xffffffffu, value, lanes);
    return value;
}
template <typename T>
__device__ __forceinline__ T row_max(T value) {
    for (int lanes = 8; lanes > 0; lanes /= 2) {
        const T other = __shfl_xor_sync(0xffffffffu, value, lanes);
        value = other > value ? other : value;
    }
    return value;
}

/// What a row of all tiles takes of shared memory.
struct TileRow {
    int64_t elements;         // of dynamic memory, squares apart
    int64_t static_bytes = 0; // of the kernel's own
};

/// Calls body.template operator()<kSide>(bytes) with the largest side whose tiles the device has the shared
/// memory for: 64 or, of f64, 32, down to 16. ConfigError where that is too large as well.
template <typename T, int kSide = sizeof(T) == 8 ? 32 : 64, typename Body>
void dispatch_side(int64_t key_size, int64_t value_size, const TileRow& row, const Body& body) {
    constexpr int kLeast = 16; // a row for each 16 threads
    const int64_t bytes = static_cast<int64_t>(sizeof(T)) * kSide * (row.elements + pitch_of(kSide));
    if (bytes + kSide * row.static_bytes <= braid::cuda::most_shared_memory())
        return body.template operator()<kSide>(static_cast<size_t>(bytes));
    if constexpr (kSide > kLeast)
        dispatch_side<T, kSide / 2>(key_size, value_size, row, body);
    else
        braid::cuda::throw_lack_of_shared_memory(
            fmt::format("attention: heads of {} and {} elements, computed in {},", key_size, value_size,
                        name_of(dtype_of<T>())),
            bytes + kSide * row.static_bytes);
}

} // namespace braid::ops::cuda

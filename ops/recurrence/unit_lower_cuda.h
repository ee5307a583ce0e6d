#pragma once

#include "ops/cuda/tile.h"

namespace braid::ops::cuda {

inline constexpr int kBlockSide = 16; // of the squares that a triangular matrix is inverted by

/// y = (I + a)^-1 for strictly lower triangular a, square matrices in shared memory of which all threads of
/// the block see a. Squares on the diagonal by substitution; then Y_ij = -Y_ii sum_m A_im Y_mj, diagonal by
/// diagonal. Leaves other numbers above the diagonal squares: the sums, each at its mirrored place.
template <typename T>
__device__ void invert_unit_lower(const T* a, T* y) {
    const int thread = static_cast<int>(threadIdx.x);
    if (thread < kSide) {
        const int base = thread / kBlockSide * kBlockSide, column = thread % kBlockSide;
        for (int r = 0; r < kBlockSide; ++r) {
            T value = r == column ? T(1) : T(0);
            for (int m = column; m < r; ++m)
                value -= a[(base + r) * kPitch + base + m] * y[(base + m) * kPitch + base + column];
            y[(base + r) * kPitch + base + column] = value;
        }
    }
    __syncthreads();
    constexpr int kBlocks = kSide / kBlockSide, kElements = kBlockSide * kBlockSide;
    for (int distance = 1; distance < kBlocks; ++distance) {
        const int count = (kBlocks - distance) * kElements;
        for (int e = thread; e < count; e += kTileThreads) {
            const int left = e / kElements * kBlockSide, top = left + distance * kBlockSide;
            const int r = e % kElements / kBlockSide, c = e % kBlockSide;
            T sum = 0;
            for (int m = left; m < top; ++m) sum += a[(top + r) * kPitch + m] * y[m * kPitch + left + c];
            y[(left + r) * kPitch + top + c] = sum;
        }
        __syncthreads();
        for (int e = thread; e < count; e += kTileThreads) {
            const int left = e / kElements * kBlockSide, top = left + distance * kBlockSide;
            const int r = e % kElements / kBlockSide, c = e % kBlockSide;
            T sum = 0;
            for (int m = 0; m <= r; ++m)
                sum -= y[(top + r) * kPitch + top + m] * y[(left + m) * kPitch + top + c];
            y[(top + r) * kPitch + left + c] = sum;
        }
        __syncthreads();
    }
}

} // namespace braid::ops::cuda

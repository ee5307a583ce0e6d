#pragma once

#include <cmath>

#include "tensor/cuda/for_each.h"

namespace braid::ops::cuda {

using namespace braid::cuda;

// Functions of numbers for kernels, in the type that they compute in.

template <typename T>
__device__ __forceinline__ T sigmoid(T x) {
    return T(1) / (T(1) + std::exp(-x));
}

/// log(1 + e^x) without overflow.
template <typename T>
__device__ __forceinline__ T softplus(T x) {
    const T positive = x > T(0) ? x : T(0);
    return x != x ? x : positive + std::log1p(std::exp(-std::abs(x)));
}

/// Rows for reading of a tensor that may be stored in bf16; elements come in the type of sums.
template <typename S>
struct ReadRows {
    RowsView<S> rows;

    explicit ReadRows(const Tensor& x) : rows(rows_of<S>(x)) {}
    __device__ __forceinline__ Accumulation<S> at(int64_t row, int64_t j) const { return load(rows[row][j]); }
};

/// The sum over j < n of value(j), each lane of a warp taking every 32nd; on all lanes.
template <typename T, typename Value>
__device__ __forceinline__ T warp_sum_of(int lane, int64_t n, const Value& value) {
    T sum = 0;
    for (int64_t j = lane; j < n; j += kWarp) sum += value(j);
    return warp_sum(sum);
}

/// a b as a rounded number. The compiler would join the product with a difference around it, and two equal
/// products would no longer cancel: a row of one value has mean(g) = g, whose layer norm pulls nothing.
__device__ __forceinline__ float rounded_product(float a, float b) {
    return __fmul_rn(a, b);
}
__device__ __forceinline__ double rounded_product(double a, double b) {
    return __dmul_rn(a, b);
}

} // namespace braid::ops::cuda

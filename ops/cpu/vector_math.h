#pragma once

#include <cstdint>

namespace braid::ops::cpu {

// Functions of arrays of n floats or doubles, single-threaded, with Highway's vectors (AVX2 or AVX-512,
// chosen at run time). Unless said otherwise the result may be written over an input, and NaN gives NaN. A
// sum adds its elements in an order that depends on n and the vector width alone.

/// y = e^x; error at most 1 ulp.
template <typename T>
void exp(const T* x, T* y, int64_t n);
/// y = log(x), the natural logarithm.
template <typename T>
void log(const T* x, T* y, int64_t n);
template <typename T>
void tanh(const T* x, T* y, int64_t n);
/// y = 1 / (1 + e^-x).
template <typename T>
void sigmoid(const T* x, T* y, int64_t n);
/// y = x sigmoid(x).
template <typename T>
void silu(const T* x, T* y, int64_t n);
/// dx = dy (d silu(x) / dx).
template <typename T>
void silu_backward(const T* x, const T* dy, T* dx, int64_t n);
/// y = log(1 + e^x).
template <typename T>
void softplus(const T* x, T* y, int64_t n);

/// y = e^(x - shift); returns the sum of y. With y null only the sum is made.
template <typename T>
T exp_sum(const T* x, T shift, T* y, int64_t n);
/// The largest element, -infinity for none; NaN if one is NaN.
template <typename T>
T max_value(const T* x, int64_t n);
template <typename T>
T sum(const T* x, int64_t n);
/// sum_i a[i] b[i].
template <typename T>
T dot(const T* a, const T* b, int64_t n);

} // namespace braid::ops::cpu

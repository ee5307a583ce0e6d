#pragma once

#include "ops/compose/matrices_kernels.h"

namespace braid::ops::BRAID_BODIES {
namespace {

template <typename T>
void keep_lower(const Tensor& x, bool strict, const Tensor& y) {
    const Strided<T> in(x);
    const int64_t side = y.dim(2);
    T* out = y.data<T>();
    for_each(y, y.numel(), [=] BRAID_BODY(int64_t i) {
        const int64_t row = i / side % side, column = i % side;
        const bool kept = strict ? column < row : column <= row;
        out[i] = kept ? static_cast<T>(in[i]) : static_cast<T>(Accumulation<T>(0));
    });
}

/// A column of a right-hand side at a time, in the type that sums are made in: `work` [B, n, m].
template <typename T>
void solve(const Tensor& a, const Tensor& b, bool transposed, const Tensor& work, const Tensor& y) {
    const Strided<T> matrix(a), right(b);
    const int64_t side = b.dim(1), width = b.dim(2);
    Accumulation<T>* x = work.data<Accumulation<T>>();
    T* out = y.data<T>();
    for_each(y, b.dim(0) * width, [=] BRAID_BODY(int64_t task) {
        const int64_t batch = task / width, first = batch * side * width + task % width;
        for (int64_t step = 0; step < side; ++step) {
            const int64_t row = transposed ? side - 1 - step : step;
            Accumulation<T> sum = right[first + row * width];
            for (int64_t k = transposed ? row + 1 : 0; k < (transposed ? side : row); ++k)
                sum -= matrix[(batch * side + (transposed ? k : row)) * side + (transposed ? row : k)] *
                       x[first + k * width];
            x[first + row * width] = sum;
            out[first + row * width] = static_cast<T>(sum);
        }
    });
}

template <typename T>
void solve_gradient(const Tensor& d, const Tensor& c, const Tensor& da) {
    const Strided<T> left(d), right(c);
    const int64_t side = c.dim(1), width = c.dim(2);
    T* out = da.data<T>();
    for_each(da, da.numel(), [=] BRAID_BODY(int64_t i) {
        const int64_t batch = i / (side * side), row = i / side % side, column = i % side;
        Accumulation<T> sum = 0;
        for (int64_t j = 0; column < row && j < width; ++j)
            sum -= left[(batch * side + row) * width + j] * right[(batch * side + column) * width + j];
        out[i] = static_cast<T>(sum);
    });
}

} // namespace

void lower_triangle(const Tensor& x, bool strict, const Tensor& y) {
    dispatch_storage(y.dtype(), [&]<typename T>() { keep_lower<T>(x, strict, y); });
}

void solve_unit_lower(const Tensor& a, const Tensor& b, bool transposed, const Tensor& y) {
    const Tensor work = Tensor::empty(y.allocator(), y.shape(), accumulation_dtype(y.dtype()));
    dispatch_storage(y.dtype(), [&]<typename T>() { solve<T>(a, b, transposed, work, y); });
}

void solve_unit_lower_gradient(const Tensor& d, const Tensor& c, const Tensor& da) {
    dispatch_storage(da.dtype(), [&]<typename T>() { solve_gradient<T>(d, c, da); });
}

} // namespace braid::ops::BRAID_BODIES

#pragma once

#include "ops/compose/rows_kernels.h"

namespace braid::ops::BRAID_BODIES {
namespace {

int64_t row_width(const Tensor& y) {
    return y.dim(0) > 0 ? y.numel() / y.dim(0) : 0;
}

template <typename T>
void gather(const Tensor& x, const Tensor& rows, const Tensor& y) {
    const Strided<T> in(x);
    const int32_t* row = rows.data<int32_t>();
    const int64_t width = row_width(y);
    T* out = y.data<T>();
    for_each(y, y.numel(), [=] BRAID_BODY(int64_t i) {
        const int64_t from = row[i / width];
        out[i] = from < 0 ? static_cast<T>(Accumulation<T>(0)) : static_cast<T>(in[from * width + i % width]);
    });
}

template <typename T>
void sum_at(const Tensor& x, const Tensor& first, const Tensor& places, const Tensor& y) {
    const Strided<T> in(x);
    const int32_t *begin = first.data<int32_t>(), *place = places.data<int32_t>();
    const int64_t width = row_width(y);
    T* out = y.data<T>();
    for_each(y, y.numel(), [=] BRAID_BODY(int64_t i) {
        Accumulation<T> total = 0;
        for (int32_t p = begin[i / width]; p < begin[i / width + 1]; ++p)
            total += in[place[p] * width + i % width];
        out[i] = static_cast<T>(total);
    });
}

template <typename T>
void repeat(const Tensor& x, int64_t times, const Tensor& y) {
    const Strided<T> in(x);
    const int64_t width = row_width(y);
    T* out = y.data<T>();
    for_each(y, y.numel(), [=] BRAID_BODY(int64_t i) {
        out[i] = static_cast<T>(in[i / width / times * width + i % width]);
    });
}

template <typename T>
void sum_repeated(const Tensor& x, int64_t times, const Tensor& y) {
    const Strided<T> in(x);
    const int64_t width = row_width(y);
    T* out = y.data<T>();
    for_each(y, y.numel(), [=] BRAID_BODY(int64_t i) {
        const int64_t first = i / width * times;
        Accumulation<T> total = 0;
        for (int64_t row = first; row < first + times; ++row) total += in[row * width + i % width];
        out[i] = static_cast<T>(total);
    });
}

template <typename T>
void swap(const Tensor& x, const Tensor& y) {
    const Strided<T> in(x);
    const int64_t inner = y.dim(1), outer = y.dim(0), width = y.dim(2);
    T* out = y.data<T>();
    for_each(y, y.numel(), [=] BRAID_BODY(int64_t i) {
        const int64_t row = i / width;
        out[i] = static_cast<T>(in[(row % inner * outer + row / inner) * width + i % width]);
    });
}

} // namespace

void gather_rows(const Tensor& x, const Tensor& rows, const Tensor& y) {
    dispatch_storage(y.dtype(), [&]<typename T>() { gather<T>(x, rows, y); });
}

void sum_rows_at(const Tensor& x, const Tensor& first, const Tensor& places, const Tensor& y) {
    dispatch_storage(y.dtype(), [&]<typename T>() { sum_at<T>(x, first, places, y); });
}

void repeat_rows(const Tensor& x, int64_t times, const Tensor& y) {
    dispatch_storage(y.dtype(), [&]<typename T>() { repeat<T>(x, times, y); });
}

void sum_repeated_rows(const Tensor& x, int64_t times, const Tensor& y) {
    dispatch_storage(y.dtype(), [&]<typename T>() { sum_repeated<T>(x, times, y); });
}

void swap_rows(const Tensor& x, const Tensor& y) {
    dispatch_storage(y.dtype(), [&]<typename T>() { swap<T>(x, y); });
}

} // namespace braid::ops::BRAID_BODIES

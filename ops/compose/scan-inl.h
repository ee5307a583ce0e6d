#pragma once

#include "ops/compose/scan_kernels.h"

namespace braid::ops::BRAID_BODIES {
namespace {

/// Elements of a tensor that may be undefined, which then are zeros.
template <typename T>
struct Optional {
    const T* data;
    explicit Optional(const Tensor& x) : data(x.defined() ? x.data<T>() : nullptr) {
        check(!x.defined() || x.is_contiguous(), "expected packed states");
    }
    constexpr Accumulation<T> operator[](int64_t i) const {
        return data ? static_cast<Accumulation<T>>(data[i]) : Accumulation<T>(0);
    }
};

template <typename T>
void sum_along(const Tensor& x, const Tensor& first, bool reverse, const Tensor& y) {
    const Strided<T> in(x);
    const int32_t* offset = first.data<int32_t>();
    const int64_t width = y.dim(0) > 0 ? y.numel() / y.dim(0) : 0;
    T* out = y.data<T>();
    for_each(y, (first.numel() - 1) * width, [=] BRAID_BODY(int64_t task) {
        const int64_t begin = offset[task / width], end = offset[task / width + 1], column = task % width;
        Accumulation<T> total = 0;
        for (int64_t step = 0; step < end - begin; ++step) {
            const int64_t at = (reverse ? end - 1 - step : begin + step) * width + column;
            total += in[at];
            out[at] = static_cast<T>(total);
        }
    });
}

template <typename T>
void scan(const Tensor& update, const Tensor& decay, const Tensor& initial, const Tensor& first,
          const Tensor& before, const Tensor& last) {
    const Strided<T> updates(update), decays(decay);
    const Optional<T> start(initial);
    const int32_t* offset = first.data<int32_t>();
    const int64_t columns = update.dim(2), size = update.dim(1) * columns, rows = update.dim(1);
    T *states = before.data<T>(), *out = last.data<T>();
    for_each(last, last.numel(), [=] BRAID_BODY(int64_t i) {
        const int64_t run = i / size, at = i % size, row = at / columns;
        Accumulation<T> state = start[i];
        for (int64_t n = offset[run]; n < offset[run + 1]; ++n) {
            states[n * size + at] = static_cast<T>(state);
            state = decays[n * rows + row] * state + updates[n * size + at];
        }
        out[i] = static_cast<T>(state);
    });
}

template <typename T>
void scan_backward(const Tensor& d_update, const Tensor& decay, const Tensor& first, const Tensor& d_before,
                   const Tensor& d_last, const Tensor& d_initial) {
    const Strided<T> decays(decay);
    const Optional<T> from_before(d_before), from_last(d_last);
    const int32_t* offset = first.data<int32_t>();
    const int64_t rows = d_update.dim(1), columns = d_update.dim(2), size = rows * columns;
    T *out = d_update.data<T>(), *to_start = d_initial.defined() ? d_initial.data<T>() : nullptr;
    for_each(d_update, (first.numel() - 1) * size, [=] BRAID_BODY(int64_t i) {
        const int64_t run = i / size, at = i % size, row = at / columns;
        Accumulation<T> gradient = from_last[i]; // of the state after step n
        for (int64_t n = offset[run + 1] - 1; n >= offset[run]; --n) {
            out[n * size + at] = static_cast<T>(gradient);
            gradient = decays[n * rows + row] * gradient + from_before[n * size + at];
        }
        if (to_start) to_start[i] = static_cast<T>(gradient);
    });
}

/// A thread has a column of the states of one run and head, which it keeps where it stores them.
template <typename T>
void scan_columns(const Tensor& transition, const Tensor& update, const Tensor& initial, const Tensor& first,
                  bool backward, const Tensor& steps, const Tensor& last) {
    using Sum = Accumulation<T>;
    const Strided<T> matrix(transition);
    const Optional<T> updates(update), start(initial);
    const int32_t* offset = first.data<int32_t>();
    const int64_t heads = steps.dim(1), rows = steps.dim(2), columns = steps.dim(3);
    T *states = steps.data<T>(), *out = last.defined() ? last.data<T>() : nullptr;
    const int64_t num_runs = first.numel() - 1;
    // Forward, the state before step n is stored at n, so that the one after it is stored at n + 1; backward,
    // the gradient of the state after step n is stored at n, that of the one before it at n - 1.
    for_each(steps, num_runs * heads * columns, [=] BRAID_BODY(int64_t task) {
        const int64_t run = task / (heads * columns), head = task / columns % heads, column = task % columns;
        const int64_t begin = offset[run], end = offset[run + 1];
        const auto at = [=](int64_t n, int64_t row) {
            return ((n * heads + head) * rows + row) * columns + column;
        };
        for (int64_t row = 0; row < rows && begin < end; ++row)
            states[at(backward ? end - 1 : begin, row)] = static_cast<T>(start[at(run, row)]);
        for (int64_t row = 0; row < rows && begin == end && out; ++row)
            out[at(run, row)] = static_cast<T>(start[at(run, row)]);
        for (int64_t step = 0; step < end - begin; ++step) {
            const int64_t n = backward ? end - 1 - step : begin + step;
            const int64_t next = backward ? n - 1 : n + 1;
            const bool ends = step + 1 == end - begin;
            if (ends && !out) break;
            for (int64_t row = 0; row < rows; ++row) {
                Sum sum = updates[at(n, row)];
                for (int64_t k = 0; k < rows; ++k) {
                    const int64_t entry = backward ? k * rows + row : row * rows + k;
                    sum +=
                        matrix[(n * heads + head) * rows * rows + entry] * static_cast<Sum>(states[at(n, k)]);
                }
                if (ends)
                    out[at(run, row)] = static_cast<T>(sum);
                else
                    states[at(next, row)] = static_cast<T>(sum);
            }
        }
    });
}

} // namespace

void scan_matrices(const Tensor& transition, const Tensor& update, const Tensor& initial, const Tensor& first,
                   bool backward, const Tensor& steps, const Tensor& last) {
    dispatch_storage(steps.dtype(), [&]<typename T>() {
        scan_columns<T>(transition, update, initial, first, backward, steps, last);
    });
}

void cumulative_sum(const Tensor& x, const Tensor& first, bool reverse, const Tensor& y) {
    dispatch_storage(y.dtype(), [&]<typename T>() { sum_along<T>(x, first, reverse, y); });
}

void scan_states(const Tensor& update, const Tensor& decay, const Tensor& initial, const Tensor& first,
                 const Tensor& before, const Tensor& last) {
    dispatch_storage(update.dtype(),
                     [&]<typename T>() { scan<T>(update, decay, initial, first, before, last); });
}

void scan_states_backward(const Tensor& d_update, const Tensor& decay, const Tensor& first,
                          const Tensor& d_before, const Tensor& d_last, const Tensor& d_initial) {
    dispatch_storage(d_update.dtype(), [&]<typename T>() {
        scan_backward<T>(d_update, decay, first, d_before, d_last, d_initial);
    });
}

} // namespace braid::ops::BRAID_BODIES

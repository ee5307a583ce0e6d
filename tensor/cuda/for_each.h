#pragma once

#include "tensor/cuda/launch.h"

namespace braid::cuda {

constexpr int kWarp = 32;
constexpr int64_t kRowsPerBlock = kThreads / kWarp;

template <typename Body>
__global__ void for_each_kernel(int64_t count, Body body) {
    for_each_index(count, body);
}

/// Calls body(i) for every 0 <= i < count, each on a thread of its own; `place` is a tensor it writes.
template <typename Body>
void for_each(const Tensor& place, int64_t count, const Body& body) {
    launch(for_each_kernel<Body>, blocks_for(count), kThreads, 0, place, count, body);
}

template <typename Body>
__global__ void for_each_row_kernel(int64_t count, Body body) {
    const int lane = static_cast<int>(threadIdx.x % kWarp);
    for (int64_t row = blockIdx.x * kRowsPerBlock + threadIdx.x / kWarp; row < count;
         row += gridDim.x * kRowsPerBlock)
        body(row, lane);
}

/// Calls body(row, lane) for every 0 <= row < count on the 32 lanes of a warp.
template <typename Body>
void for_each_row(const Tensor& place, int64_t count, const Body& body) {
    const int64_t blocks = std::min((count + kRowsPerBlock - 1) / kRowsPerBlock, kMostBlocks);
    launch(for_each_row_kernel<Body>, dim3(static_cast<unsigned>(blocks)), kThreads, 0, place, count, body);
}

constexpr int64_t kSummedRows = 256; // rows that one thread adds up in sum_columns

template <typename Sum, typename Value>
__global__ void partial_columns_kernel(int64_t rows, int64_t width, Sum* partial, Value value) {
    const int64_t chunks = (rows + kSummedRows - 1) / kSummedRows;
    for_each_index(chunks * width, [&](int64_t i) {
        const int64_t first = i / width * kSummedRows, column = i % width;
        const int64_t last = first + kSummedRows < rows ? first + kSummedRows : rows;
        Sum sum = 0;
        for (int64_t row = first; row < last; ++row) sum += value(row, column);
        partial[i] = sum;
    });
}

template <typename Sum>
__global__ void add_partial_columns_kernel(int64_t chunks, int64_t width, const Sum* partial, Sum* out) {
    for_each_index(width, [&](int64_t column) {
        double total = 0;
        for (int64_t chunk = 0; chunk < chunks; ++chunk)
            total += static_cast<double>(partial[chunk * width + column]);
        out[column] += static_cast<Sum>(total);
    });
}

/// out[column] += the sum over rows of value(row, column): chunks of rows apart, then in order, in f64. The
/// bits do not depend on the GPU.
template <typename Sum, typename Value>
void sum_columns(int64_t rows, int64_t width, const Tensor& out, const Value& value) {
    const int64_t chunks = (rows + kSummedRows - 1) / kSummedRows;
    const Tensor partial = Tensor::empty(out.allocator(), {chunks, width}, dtype_of<Sum>());
    launch(partial_columns_kernel<Sum, Value>, blocks_for(chunks * width), kThreads, 0, out, rows, width,
           partial.data<Sum>(), value);
    launch(add_partial_columns_kernel<Sum>, blocks_for(width), kThreads, 0, out, chunks, width,
           partial.data<Sum>(), out.data<Sum>());
}

} // namespace braid::cuda

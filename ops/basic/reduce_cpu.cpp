#include <algorithm>
#include <cmath>
#include <vector>

#include "ops/basic/reduce_kernels.h"

namespace braid::ops::cpu {
namespace {

constexpr int64_t kBlock = 1 << 12; // elements

template <typename T>
double to_double(T value) {
    return static_cast<double>(static_cast<Accumulation<T>>(value));
}

/// result = fold(..., block(first element, count)) over fixed blocks of rows' elements, in order.
template <typename T, typename Block, typename Fold>
double by_blocks(const Tensor& x, Block&& block, Fold&& fold) {
    const int64_t rows = x.rank() ? x.dim(0) : 1;
    const int64_t row = rows ? x.numel() / rows : 0;
    const bool packed = x.is_contiguous();
    // A packed tensor is one long row; a strided one has its rows as blocks' borders.
    const int64_t lines = packed ? 1 : rows, length = packed ? x.numel() : row;
    const int64_t blocks_a_line = (length + kBlock - 1) / kBlock;
    std::vector<double> partial(static_cast<size_t>(lines * blocks_a_line));
    const T* data = x.data<T>();
#pragma omp parallel for schedule(static) if (x.numel() > 1 << 15)
    for (int64_t b = 0; b < lines * blocks_a_line; ++b) {
        const int64_t line = b / blocks_a_line, first = b % blocks_a_line * kBlock;
        partial[static_cast<size_t>(b)] =
            block(data + line * x.row_stride() + first, std::min(kBlock, length - first));
    }
    double result = 0;
    for (double value : partial) result = fold(result, value);
    return result;
}

} // namespace

void sum_of_squares(const Tensor& x, const Tensor& sum) {
    *sum.data<double>() = dispatch_storage(x.dtype(), [&]<typename T>() {
        return by_blocks<T>(
            x,
            [](const T* values, int64_t count) {
                // Eight running sums: the order is fixed and the loop vectorises.
                double sums[8] = {};
                int64_t i = 0;
                for (; i + 8 <= count; i += 8)
                    for (int lane = 0; lane < 8; ++lane) {
                        const double value = to_double(values[i + lane]);
                        sums[lane] += value * value;
                    }
                double total = 0;
                for (double sum : sums) total += sum;
                for (; i < count; ++i) total += to_double(values[i]) * to_double(values[i]);
                return total;
            },
            [](double a, double b) { return a + b; });
    });
}

void max_abs(const Tensor& x, const Tensor& largest) {
    const auto larger = [](double a, double b) { return b > a || b != b ? b : a; }; // a NaN stays
    *largest.data<double>() = dispatch_storage(x.dtype(), [&]<typename T>() {
        return by_blocks<T>(
            x,
            [&](const T* values, int64_t count) {
                double largest = 0;
                for (int64_t i = 0; i < count; ++i) largest = larger(largest, std::abs(to_double(values[i])));
                return largest;
            },
            larger);
    });
}

} // namespace braid::ops::cpu

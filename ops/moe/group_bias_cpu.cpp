#include <algorithm>
#include <array>

#include "ops/moe/group_bias_kernels.h"

namespace braid::ops::cpu {

void add_group_bias(const Tensor& x, const Tensor& b, const Tensor& offsets, int64_t first, const Tensor& y) {
    dispatch_storage(y.dtype(), [&]<typename S>() {
        using T = Accumulation<S>;
        const int64_t rows = y.dim(0), width = y.dim(1), added = b.dim(1);
        const auto ends = offsets.span<int64_t>().subspan(1);
#pragma omp parallel for schedule(static) if (y.numel() > 1 << 14)
        for (int64_t row = 0; row < rows; ++row) {
            const S* in = x.data<S>() + row * x.row_stride();
            S* out = y.data<S>() + row * width;
            const T* vector = b.data<T>() + (std::upper_bound(ends.begin(), ends.end(), row) - ends.begin()) *
                                                b.row_stride();
            std::copy_n(in, width, out);
            for (int64_t j = 0; j < added; ++j)
                out[first + j] = static_cast<S>(static_cast<T>(in[first + j]) + vector[j]);
        }
    });
}

void group_bias_gradient(const Tensor& dy, const Tensor& offsets, int64_t first, const Tensor& db) {
    constexpr int64_t kColumns = 64; // that one thread adds up
    dispatch_storage(dy.dtype(), [&]<typename S>() {
        using T = Accumulation<S>;
        const int64_t groups = db.dim(0), width = db.dim(1), blocks = (width + kColumns - 1) / kColumns;
        const int64_t* offset = offsets.data<int64_t>();
#pragma omp parallel for schedule(dynamic) if (dy.numel() > 1 << 14)
        for (int64_t task = 0; task < groups * blocks; ++task) {
            const int64_t group = task / blocks, begin = task % blocks * kColumns,
                          count = std::min(kColumns, width - begin);
            std::array<double, kColumns> sums = {};
            for (int64_t row = offset[group]; row < offset[group + 1]; ++row) {
                const S* grad = dy.data<S>() + row * dy.row_stride() + first + begin;
                for (int64_t j = 0; j < count; ++j)
                    sums[static_cast<size_t>(j)] += static_cast<double>(static_cast<T>(grad[j]));
            }
            T* out = db.data<T>() + group * db.row_stride() + begin;
            for (int64_t j = 0; j < count; ++j) out[j] += static_cast<T>(sums[static_cast<size_t>(j)]);
        }
    });
}

} // namespace braid::ops::cpu

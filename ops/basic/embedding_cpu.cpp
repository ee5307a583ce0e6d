#include "ops/basic/embedding_kernels.h"

#include <algorithm>
#include <cstring>
#include <vector>

namespace braid::ops::cpu {

void embedding(const Tensor& ids, int64_t first, const Tensor& table, const Tensor& y) {
    const auto id = ids.span<int32_t>();
    const size_t bytes = static_cast<size_t>(y.dim(1)) * size_of(y.dtype());
    auto* out = static_cast<std::byte*>(y.raw_data());
    const auto* rows = static_cast<const std::byte*>(table.raw_data());
#pragma omp parallel for schedule(static) if (y.numel() > 1 << 14)
    for (size_t t = 0; t < id.size(); ++t)
        if (const int64_t row = id[t] - first; row >= 0 && row < table.dim(0))
            std::memcpy(out + t * bytes, rows + static_cast<size_t>(row) * bytes, bytes);
        else
            std::memset(out + t * bytes, 0, bytes);
}

void embedding_weight_gradient(const Tensor& ids, int64_t first, const Tensor& dy, const Tensor& dtable) {
    const auto id = ids.span<int32_t>();
    std::vector<int32_t> order; // tokens by id; each run of one id belongs to one thread
    for (size_t t = 0; t < id.size(); ++t)
        if (id[t] >= first && id[t] < first + dtable.dim(0)) order.push_back(static_cast<int32_t>(t));
    std::stable_sort(order.begin(), order.end(), [&](int32_t a, int32_t b) {
        return id[static_cast<size_t>(a)] < id[static_cast<size_t>(b)];
    });
    std::vector<size_t> runs;
    for (size_t i = 0; i < order.size(); ++i)
        if (i == 0 || id[static_cast<size_t>(order[i])] != id[static_cast<size_t>(order[i - 1])])
            runs.push_back(i);
    runs.push_back(order.size());
    dispatch_storage(dy.dtype(), [&]<typename T>() {
        using Sum = Accumulation<T>;
        const int64_t width = dy.dim(1);
#pragma omp parallel for schedule(dynamic, 8) if (dy.numel() > 1 << 14)
        for (size_t run = 0; run < runs.size() - 1; ++run) {
            Sum* out = dtable.data<Sum>() + (id[static_cast<size_t>(order[runs[run]])] - first) * width;
            for (size_t i = runs[run]; i < runs[run + 1]; ++i) {
                const T* row = dy.data<T>() + order[i] * dy.row_stride();
                for (int64_t j = 0; j < width; ++j) out[j] += static_cast<Sum>(row[j]);
            }
        }
    });
}

} // namespace braid::ops::cpu

#include "ops/moe/permute_kernels.h"

#include <algorithm>
#include <vector>

#include "ops/cpu/vector_math.h"
#include "ops/cpu/widen.h"

namespace braid::ops::cpu {

int64_t num_choices(const Tensor& expert, int64_t num_experts) {
    int64_t count = 0;
    for (const int32_t e : expert.span<int32_t>()) {
        check(e >= -1 && e < num_experts, "expert {} of {} was chosen", e, num_experts);
        count += e >= 0;
    }
    return count;
}

void make_expert_plan(const Tensor& expert, const Tensor& order, const Tensor& row_of_slot,
                      const Tensor& offsets) {
    const auto choice = expert.span<int32_t>();
    const auto slot_of_row = order.span<int32_t>(), row = row_of_slot.span<int32_t>();
    const auto offset = offsets.span<int64_t>();
    const auto experts = static_cast<int64_t>(offset.size()) - 1;
    std::fill(offset.begin(), offset.end(), 0);
    for (const int32_t e : choice) {
        check(e >= -1 && e < experts, "expert {} of {} was chosen", e, experts);
        if (e < 0) continue;
        ++offset[static_cast<size_t>(e) + 1];
    }
    for (size_t e = 1; e < offset.size(); ++e) offset[e] += offset[e - 1];
    check(offset.back() == order.numel(), "{} choices of experts were said to be {}", offset.back(),
          order.numel());
    std::vector<int64_t> next(offset.begin(),
                              offset.end()); // a counting sort, which keeps the order of slots
    for (size_t slot = 0; slot < choice.size(); ++slot) {
        row[slot] = -1;
        if (choice[slot] < 0) continue;
        const int64_t r = next[static_cast<size_t>(choice[slot])]++;
        slot_of_row[static_cast<size_t>(r)] = static_cast<int32_t>(slot);
        row[slot] = static_cast<int32_t>(r);
    }
}

void permute(const Tensor& h, const Tensor& order, int64_t k, const Tensor& rows) {
    dispatch_storage(h.dtype(), [&]<typename T>() {
        const int64_t width = h.dim(1);
#pragma omp parallel for schedule(static) if (rows.numel() > 1 << 14)
        for (int64_t r = 0; r < rows.dim(0); ++r)
            std::copy_n(h.data<T>() + order.data<int32_t>()[r] / k * h.row_stride(), width,
                        rows.data<T>() + r * width);
    });
}

void combine(const Tensor& rows, const Tensor& weight, const Tensor& row_of_slot, int64_t k,
             const Tensor& y) {
    dispatch_storage(y.dtype(), [&]<typename T>() {
        using Wide = Accumulation<T>;
        const int64_t width = y.dim(1);
#pragma omp parallel if (y.numel() > 1 << 14)
        {
            std::vector<Wide> sums(static_cast<size_t>(width));
#pragma omp for schedule(static)
            for (int64_t t = 0; t < y.dim(0); ++t) {
                Wide* sum = sums.data();
                bool first = true;
                for (int64_t j = 0; j < k; ++j) {
                    const int64_t r = row_of_slot.data<int32_t>()[t * k + j];
                    if (r < 0) continue;
                    const T* in = rows.data<T>() + r * rows.row_stride();
                    const Wide w =
                        weight.defined() ? weight.data<Wide>()[t * weight.row_stride() + j] : Wide(1);
                    if (first)
                        for (int64_t i = 0; i < width; ++i) sum[i] = w * static_cast<Wide>(in[i]);
                    else
                        for (int64_t i = 0; i < width; ++i) sum[i] += w * static_cast<Wide>(in[i]);
                    first = false;
                }
                if (first) std::fill_n(sum, width, Wide(0));
                T* out = y.data<T>() + t * width;
                for (int64_t i = 0; i < width; ++i) out[i] = static_cast<T>(sum[i]);
            }
        }
    });
}

void combine_backward(const Tensor& dy, const Tensor& rows, const Tensor& weight, const Tensor& row_of_slot,
                      int64_t k, const Tensor& drows, const Tensor& dweight) {
    const Tensor wide_dy = widened(dy);
    dispatch_storage(rows.dtype(), [&]<typename T>() {
        using Wide = Accumulation<T>;
        const int64_t width = dy.dim(1);
#pragma omp parallel if (drows.numel() > 1 << 14)
        {
            std::vector<Wide> scratch(static_cast<size_t>(width));
#pragma omp for schedule(static)
            for (int64_t t = 0; t < dy.dim(0); ++t) {
                const Wide* grad = wide_dy.data<Wide>() + t * wide_dy.row_stride();
                for (int64_t j = 0; j < k; ++j) {
                    const int64_t r = row_of_slot.data<int32_t>()[t * k + j];
                    if (r < 0) {
                        dweight.data<Wide>()[t * k + j] = 0;
                        continue;
                    }
                    const Wide w = weight.data<Wide>()[t * weight.row_stride() + j];
                    T* out = drows.data<T>() + r * width;
                    for (int64_t i = 0; i < width; ++i) out[i] = static_cast<T>(w * grad[i]);
                    const T* row = rows.data<T>() + r * rows.row_stride();
                    for (int64_t i = 0; i < width; ++i)
                        scratch[static_cast<size_t>(i)] = static_cast<Wide>(row[i]);
                    dweight.data<Wide>()[t * k + j] = dot(scratch.data(), grad, width);
                }
            }
        }
    });
}

} // namespace braid::ops::cpu

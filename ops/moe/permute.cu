#include "ops/moe/permute_kernels.h"

#include "tensor/cuda/for_each.h"
#include "tensor/cuda/sort.h"

namespace braid::ops::cuda {
namespace {

using namespace braid::cuda;

/// Neighbours in a row that are read and written at once.
template <typename T, int kCount>
struct alignas(kCount * sizeof(T)) Pack {
    T at[kCount];
};

template <typename T>
constexpr int kFullPack = static_cast<int>(16 / sizeof(T));

/// Whether all rows of x begin where a full pack may stand.
bool is_aligned(const Tensor& x) {
    const size_t row = static_cast<size_t>(x.row_stride()) * size_of(x.dtype());
    return reinterpret_cast<uintptr_t>(x.raw_data()) % 16 == 0 && row % 16 == 0;
}

/// Calls body.template operator()<kCount>() with the elements per pack that these tensors, with rows of
/// `width` elements of type T, allow.
template <typename T, typename Body>
void dispatch_pack(int64_t width, const Body& body, std::initializer_list<const Tensor*> tensors) {
    bool full = width % kFullPack<T> == 0;
    for (const Tensor* x : tensors) full = full && is_aligned(*x);
    full ? body.template operator()<kFullPack<T>>() : body.template operator()<1>();
}

template <typename T, int kCount>
void copy_rows(const Tensor& h, const Tensor& order, int64_t k, const Tensor& rows) {
    using Packed = Pack<T, kCount>;
    const T* in = h.data<T>();
    T* out = rows.data<T>();
    const int32_t* slot_of_row = order.data<int32_t>();
    const int64_t width = h.dim(1), stride = h.row_stride();
    for_each_row(rows, rows.dim(0), [=] __device__(int64_t r, int lane) {
        const auto* from = reinterpret_cast<const Packed*>(in + slot_of_row[r] / k * stride);
        auto* to = reinterpret_cast<Packed*>(out + r * width);
        for (int64_t i = lane; i < width / kCount; i += kWarp) to[i] = from[i];
    });
}

template <typename T, int kCount>
void combine_rows(const Tensor& rows, const Tensor& weight, const Tensor& row_of_slot, int64_t k,
                  const Tensor& y) {
    using Wide = Accumulation<T>;
    using Packed = Pack<T, kCount>;
    const T* in = rows.data<T>();
    T* out = y.data<T>();
    const Wide* weights = weight.defined() ? weight.data<Wide>() : nullptr;
    const int32_t* row = row_of_slot.data<int32_t>();
    const int64_t width = y.dim(1), stride = rows.row_stride(),
                  weight_stride = weight.defined() ? weight.row_stride() : 0;
    for_each_row(y, y.dim(0), [=] __device__(int64_t t, int lane) {
        for (int64_t i = lane; i < width / kCount; i += kWarp) {
            Wide sum[kCount] = {};
            for (int64_t j = 0; j < k; ++j) {
                const int64_t r = row[t * k + j];
                if (r < 0) continue;
                const Wide w = weights ? weights[t * weight_stride + j] : Wide(1);
                const Packed x = reinterpret_cast<const Packed*>(in + r * stride)[i];
                for (int c = 0; c < kCount; ++c) sum[c] += w * load(x.at[c]);
            }
            Packed result;
            for (int c = 0; c < kCount; ++c) result.at[c] = static_cast<T>(sum[c]);
            reinterpret_cast<Packed*>(out + t * width)[i] = result;
        }
    });
}

template <typename T>
struct CombineBackward {
    using Wide = Accumulation<T>;
    const T *dy, *rows;
    const Wide* weight;
    const int32_t* row_of_slot;
    int64_t k, width, dy_stride, row_stride, weight_stride;
    T* drows;
    Wide* dweight;

    /// For one token, by one warp.
    __device__ void operator()(int64_t t, int lane) const {
        const T* grad = dy + t * dy_stride;
        for (int64_t j = 0; j < k; ++j) {
            const int64_t r = row_of_slot[t * k + j];
            Wide dot = 0;
            if (r >= 0) {
                const Wide w = weight[t * weight_stride + j];
                for (int64_t i = lane; i < width; i += kWarp) {
                    const Wide d = load(grad[i]);
                    drows[r * width + i] = static_cast<T>(w * d);
                    dot += d * load(rows[r * row_stride + i]);
                }
            }
            dot = warp_sum(dot);
            if (lane == 0) dweight[t * k + j] = dot;
        }
    }
};

/// Adds to counts how many entries are choices, and how many are neither an expert nor -1.
__global__ void count_kernel(int64_t size, int64_t num_experts, const int32_t* expert,
                             unsigned long long* counts) {
    int64_t chosen = 0, unknown = 0;
    for_each_index(size, [&](int64_t i) {
        chosen += expert[i] >= 0;
        unknown += expert[i] < -1 || expert[i] >= num_experts;
    });
    chosen = block_sum(chosen);
    unknown = block_sum(unknown);
    if (threadIdx.x != 0) return;
    atomicAdd(counts, static_cast<unsigned long long>(chosen)); // of integers: the same in any order
    atomicAdd(counts + 1, static_cast<unsigned long long>(unknown));
}

/// The first of `size` ascending keys that is not below `least`.
__device__ int64_t lower_bound(const int32_t* keys, int64_t size, int64_t least) {
    int64_t first = 0;
    while (size > 0) {
        const int64_t half = size / 2;
        const bool below = keys[first + half] < least;
        first += below ? half + 1 : 0;
        size = below ? size - half - 1 : half;
    }
    return first;
}

} // namespace

int64_t num_choices(const Tensor& expert, int64_t num_experts) {
    const Tensor counts = Tensor::zeros(expert.allocator(), {2}, DType::i64);
    launch(count_kernel, blocks_for(expert.numel()), kThreads, 0, counts, expert.numel(), num_experts,
           expert.data<int32_t>(), reinterpret_cast<unsigned long long*>(counts.data<int64_t>()));
    Allocator host;
    const Tensor found = to_device(host, counts);
    check(found.data<int64_t>()[1] == 0, "{} of the chosen experts are not among the {}",
          found.data<int64_t>()[1], num_experts);
    return found.data<int64_t>()[0];
}

void make_expert_plan(const Tensor& expert, const Tensor& order, const Tensor& row_of_slot,
                      const Tensor& offsets) {
    const int64_t slots = expert.numel(), rows = order.numel(), experts = offsets.numel() - 1;
    const auto integers = [&] { return Tensor::empty(order.allocator(), {slots}, DType::i32); };
    const Tensor keys = integers(), sorted = integers(), slot_order = integers();
    const int32_t* choice = expert.data<int32_t>();
    int32_t *key = keys.data<int32_t>(), *slot_of_row = order.data<int32_t>(),
            *row = row_of_slot.data<int32_t>();
    const auto last = static_cast<int32_t>(experts); // where slots without a choice go
    for_each(keys, slots, [=] __device__(int64_t i) { key[i] = choice[i] < 0 ? last : choice[i]; });
    stable_sort(keys, sorted, slot_order);
    const int32_t *sorted_key = sorted.data<int32_t>(), *slot = slot_order.data<int32_t>();
    for_each(order, slots, [=] __device__(int64_t i) {
        if (i < rows) slot_of_row[i] = slot[i];
        row[slot[i]] = i < rows ? static_cast<int32_t>(i) : -1;
    });
    int64_t* offset = offsets.data<int64_t>();
    for_each(offsets, offsets.numel(),
             [=] __device__(int64_t e) { offset[e] = lower_bound(sorted_key, slots, e); });
}

void permute(const Tensor& h, const Tensor& order, int64_t k, const Tensor& rows) {
    dispatch_storage(h.dtype(), [&]<typename T>() {
        dispatch_pack<T>(h.dim(1), [&]<int kCount>() { copy_rows<T, kCount>(h, order, k, rows); },
                         {&h, &rows});
    });
}

void combine(const Tensor& rows, const Tensor& weight, const Tensor& row_of_slot, int64_t k,
             const Tensor& y) {
    dispatch_storage(y.dtype(), [&]<typename T>() {
        dispatch_pack<T>(y.dim(1),
                         [&]<int kCount>() { combine_rows<T, kCount>(rows, weight, row_of_slot, k, y); },
                         {&rows, &y});
    });
}

void combine_backward(const Tensor& dy, const Tensor& rows, const Tensor& weight, const Tensor& row_of_slot,
                      int64_t k, const Tensor& drows, const Tensor& dweight) {
    dispatch_storage(rows.dtype(), [&]<typename T>() {
        using Wide = Accumulation<T>;
        for_each_row(drows, dy.dim(0),
                     CombineBackward<T>{.dy = dy.data<T>(),
                                        .rows = rows.data<T>(),
                                        .weight = weight.data<Wide>(),
                                        .row_of_slot = row_of_slot.data<int32_t>(),
                                        .k = k,
                                        .width = dy.dim(1),
                                        .dy_stride = dy.row_stride(),
                                        .row_stride = rows.row_stride(),
                                        .weight_stride = weight.row_stride(),
                                        .drows = drows.data<T>(),
                                        .dweight = dweight.data<Wide>()});
    });
}

} // namespace braid::ops::cuda

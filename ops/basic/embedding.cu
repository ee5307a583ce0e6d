#include "ops/basic/embedding_kernels.h"

#include "ops/cuda/row_math.h"
#include "tensor/cuda/sort.h"

namespace braid::ops::cuda {
namespace {

constexpr unsigned kWholeWarp = 0xffffffffu;

template <typename S>
void look_up(const Tensor& ids, int64_t first, const Tensor& table, const Tensor& y) {
    const int32_t* id = ids.data<int32_t>();
    const S* rows = table.data<S>();
    S* out = y.data<S>();
    const int64_t width = y.dim(1), num_rows = table.dim(0);
    for_each(y, y.numel(), [=] __device__(int64_t i) {
        const int64_t row = id[i / width] - first;
        out[i] = row >= 0 && row < num_rows ? rows[row * width + i % width] : S();
    });
}

/// A warp for each run of one id among the sorted ones and 32 columns; its tokens are added in their order. A
/// word that every tenth token is makes a run of thousands: its rows are found 32 at a time and then read
/// without waiting for one another.
template <typename S, typename T = Accumulation<S>>
void add_rows(const Tensor& sorted, const Tensor& order, int64_t first, const Tensor& dy,
              const Tensor& dtable) {
    const int32_t *id = sorted.data<int32_t>(), *token = order.data<int32_t>();
    const S* grad = dy.data<S>();
    T* out = dtable.data<T>();
    const int64_t tokens = sorted.numel(), width = dy.dim(1), stride = dy.row_stride(),
                  num_rows = dtable.dim(0), parts = (width + kWarp - 1) / kWarp;
    for_each_row(dtable, tokens * parts, [=] __device__(int64_t i, int lane) {
        const int64_t begin = i / parts, j = i % parts * kWarp + lane;
        const int32_t wanted = id[begin];
        const int64_t row = wanted - first;
        if (row < 0 || row >= num_rows || (begin > 0 && id[begin - 1] == wanted)) return;
        const bool inside = j < width;
        T sum = inside ? out[row * width + j] : T(0);
        for (int64_t at = begin, found = kWarp; found == kWarp; at += kWarp) {
            const bool same = at + lane < tokens && id[at + lane] == wanted;
            const int32_t mine = same ? token[at + lane] : 0;
            found = __popc(__ballot_sync(kWholeWarp, same));
#pragma unroll 8
            for (int k = 0; k < found; ++k) {
                const int64_t t = __shfl_sync(kWholeWarp, mine, k);
                if (inside) sum += load(grad[t * stride + j]);
            }
        }
        if (inside) out[row * width + j] = sum;
    });
}

} // namespace

void embedding(const Tensor& ids, int64_t first, const Tensor& table, const Tensor& y) {
    dispatch_storage(y.dtype(), [&]<typename S>() { look_up<S>(ids, first, table, y); });
}

void embedding_weight_gradient(const Tensor& ids, int64_t first, const Tensor& dy, const Tensor& dtable) {
    const Tensor sorted = Tensor::empty(dy.allocator(), ids.shape(), DType::i32),
                 order = Tensor::empty(dy.allocator(), ids.shape(), DType::i32);
    stable_sort(ids, sorted, order);
    dispatch_storage(dy.dtype(), [&]<typename S>() { add_rows<S>(sorted, order, first, dy, dtable); });
}

} // namespace braid::ops::cuda

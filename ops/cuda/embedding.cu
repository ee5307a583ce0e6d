#include "ops/kernels/embedding.h"

#include "ops/cuda/row_math.h"
#include "tensor/cuda/sort.h"

namespace braid::ops::cuda {
namespace {

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

/// A warp for each run of one id among the sorted ones; its tokens are added in their order.
template <typename S, typename T = Accumulation<S>>
void add_rows(const Tensor& sorted, const Tensor& order, int64_t first, const Tensor& dy,
              const Tensor& dtable) {
    const int32_t *id = sorted.data<int32_t>(), *token = order.data<int32_t>();
    const S* grad = dy.data<S>();
    T* out = dtable.data<T>();
    const int64_t tokens = sorted.numel(), width = dy.dim(1), stride = dy.row_stride(),
                  num_rows = dtable.dim(0);
    for_each_row(dtable, tokens, [=] __device__(int64_t begin, int lane) {
        const int64_t row = id[begin] - first;
        if (row < 0 || row >= num_rows || (begin > 0 && id[begin - 1] == id[begin])) return;
        for (int64_t j = lane; j < width; j += kWarp) {
            T sum = out[row * width + j];
            for (int64_t i = begin; i < tokens && id[i] == id[begin]; ++i)
                sum += load(grad[token[i] * stride + j]);
            out[row * width + j] = sum;
        }
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

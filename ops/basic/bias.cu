#include "ops/basic/bias_kernels.h"
#include "ops/cuda/row_math.h"

namespace braid::ops::cuda {
namespace {

// S is what activations are stored in.

template <typename S>
void add_to_rows(const Tensor& x, const Tensor& b, const Tensor& y) {
    const ReadRows<S> in(x);
    const Accumulation<S>* vector = b.data<Accumulation<S>>();
    const int64_t width = y.dim(1);
    S* out = y.data<S>();
    for_each(y, y.numel(), [=] __device__(int64_t i) {
        out[i] = static_cast<S>(in.at(i / width, i % width) + vector[i % width]);
    });
}

template <typename S>
void sum_of_rows(const Tensor& dy, const Tensor& db) {
    const ReadRows<S> grad(dy);
    sum_columns<Accumulation<S>>(dy.dim(0), dy.dim(1), db,
                                 [=] __device__(int64_t row, int64_t j) { return grad.at(row, j); });
}

} // namespace

void add_bias(const Tensor& x, const Tensor& b, const Tensor& y) {
    dispatch_storage(y.dtype(), [&]<typename S>() { add_to_rows<S>(x, b, y); });
}

void bias_gradient(const Tensor& dy, const Tensor& db) {
    dispatch_storage(dy.dtype(), [&]<typename S>() { sum_of_rows<S>(dy, db); });
}

} // namespace braid::ops::cuda

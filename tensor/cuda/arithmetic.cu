#include "tensor/cuda/arithmetic.h"

#include "tensor/cuda/for_each.h"

namespace braid::cuda {
namespace {

template <typename T>
void add_elements(const T* a, const T* b, const Tensor& y) {
    T* out = y.data<T>();
    for_each(y, y.numel(), [=] __device__(int64_t i) { out[i] = static_cast<T>(load(a[i]) + load(b[i])); });
}

template <typename T>
void fill_elements(const Tensor& x, T value) {
    T* out = x.data<T>();
    for_each(x, x.numel(), [=] __device__(int64_t i) { out[i] = value; });
}

} // namespace

void add(const Tensor& a, const Tensor& b, const Tensor& out) {
    dispatch_storage(out.dtype(), [&]<typename T>() { add_elements(a.data<T>(), b.data<T>(), out); });
}

void fill(const Tensor& x, double value) {
    dispatch_storage(x.dtype(), [&]<typename T>() {
        fill_elements(x, static_cast<T>(static_cast<Accumulation<T>>(value)));
    });
}

void round(const Tensor& x, const Tensor& y) {
    const float* in = x.data<float>();
    bf16* out = y.data<bf16>();
    for_each(y, y.numel(), [=] __device__(int64_t i) { out[i] = static_cast<bf16>(in[i]); });
}

} // namespace braid::cuda

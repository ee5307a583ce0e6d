#include "ops/basic/elementwise_kernels.h"

#include "ops/basic/strided.h"
#include "tensor/cuda/for_each.h"

namespace braid::ops::cuda {
namespace {

using namespace braid::cuda;

template <typename T>
void add_elements(const Tensor& a, const Tensor& b, const Tensor& y) {
    const Strided<T> left(a), right(b);
    T* out = y.data<T>();
    for_each(y, y.numel(), [=] __device__(int64_t i) { out[i] = static_cast<T>(left[i] + right[i]); });
}

template <typename T>
void scale_elements(const Tensor& x, double factor, const Tensor& y) {
    const Strided<T> in(x);
    T* out = y.data<T>();
    const auto f = static_cast<Accumulation<T>>(factor);
    for_each(y, y.numel(), [=] __device__(int64_t i) { out[i] = static_cast<T>(f * in[i]); });
}

template <typename From, typename To>
void cast_elements(const Tensor& x, const Tensor& y) {
    const Strided<From> in(x);
    To* out = y.data<To>();
    for_each(y, y.numel(), [=] __device__(int64_t i) { out[i] = static_cast<To>(in[i]); });
}

template <typename From>
void cast_from(const Tensor& x, const Tensor& y) {
    dispatch_storage(y.dtype(), [&]<typename To>() { cast_elements<From, To>(x, y); });
}

} // namespace

void add(const Tensor& a, const Tensor& b, const Tensor& y) {
    dispatch_storage(y.dtype(), [&]<typename T>() { add_elements<T>(a, b, y); });
}

void scale(const Tensor& x, double factor, const Tensor& y) {
    dispatch_storage(y.dtype(), [&]<typename T>() { scale_elements<T>(x, factor, y); });
}

void cast(const Tensor& x, const Tensor& y) {
    dispatch_storage(x.dtype(), [&]<typename From>() { cast_from<From>(x, y); });
}

} // namespace braid::ops::cuda

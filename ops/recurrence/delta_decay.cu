#include "ops/recurrence/delta_decay_kernels.h"

#include "ops/cuda/row_math.h"

namespace braid::ops::cuda {
namespace {

/// a + dt_bias, and -exp(a_log), of token t and head h.
template <typename S, typename T>
struct Decay {
    const S* a;
    const T *a_log, *dt_bias;
    int64_t stride;

    Decay(const Tensor& a, const Tensor& a_log, const Tensor& dt_bias)
        : a(a.data<S>()), a_log(a_log.data<T>()), dt_bias(dt_bias.data<T>()), stride(a.row_stride()) {}
    __device__ __forceinline__ T input(int64_t t, int64_t h) const {
        return load(a[t * stride + h]) + dt_bias[h];
    }
    __device__ __forceinline__ T rate(int64_t h) const { return -std::exp(a_log[h]); }
};

template <typename S, typename T = Accumulation<S>>
void decay(const Tensor& a, const Tensor& a_log, const Tensor& dt_bias, const Tensor& g) {
    const Decay<S, T> in(a, a_log, dt_bias);
    T* out = g.data<T>();
    const int64_t heads = a.dim(1);
    for_each(g, g.numel(), [=] __device__(int64_t i) {
        out[i] = softplus(in.input(i / heads, i % heads)) * in.rate(i % heads);
    });
}

template <typename S, typename T = Accumulation<S>>
void data_gradient(const Tensor& a, const Tensor& a_log, const Tensor& dt_bias, const Tensor& dg,
                   const Tensor& da) {
    const Decay<S, T> in(a, a_log, dt_bias);
    const T* grad = dg.data<T>();
    S* out = da.data<S>();
    const int64_t heads = a.dim(1);
    for_each(da, da.numel(), [=] __device__(int64_t i) {
        out[i] = static_cast<S>(sigmoid(in.input(i / heads, i % heads)) * (in.rate(i % heads) * grad[i]));
    });
}

template <typename S, typename T = Accumulation<S>>
void weight_gradient(const Tensor& a, const Tensor& a_log, const Tensor& dt_bias, const Tensor& g,
                     const Tensor& dg, const Tensor& d_a_log, const Tensor& d_dt_bias) {
    const Decay<S, T> in(a, a_log, dt_bias);
    const T *log_decay = g.data<T>(), *grad = dg.data<T>();
    const int64_t heads = a.dim(1);
    sum_columns<T>(a.dim(0), heads, d_a_log, [=] __device__(int64_t t, int64_t h) {
        return grad[t * heads + h] * log_decay[t * heads + h];
    });
    sum_columns<T>(a.dim(0), heads, d_dt_bias, [=] __device__(int64_t t, int64_t h) {
        return sigmoid(in.input(t, h)) * (in.rate(h) * grad[t * heads + h]);
    });
}

} // namespace

void delta_decay(const Tensor& a, const Tensor& a_log, const Tensor& dt_bias, const Tensor& g) {
    dispatch_storage(a.dtype(), [&]<typename S>() { decay<S>(a, a_log, dt_bias, g); });
}
void delta_decay_data_gradient(const Tensor& a, const Tensor& a_log, const Tensor& dt_bias, const Tensor& dg,
                               const Tensor& da) {
    dispatch_storage(a.dtype(), [&]<typename S>() { data_gradient<S>(a, a_log, dt_bias, dg, da); });
}
void delta_decay_weight_gradient(const Tensor& a, const Tensor& a_log, const Tensor& dt_bias, const Tensor& g,
                                 const Tensor& dg, const Tensor& d_a_log, const Tensor& d_dt_bias) {
    dispatch_storage(a.dtype(),
                     [&]<typename S>() { weight_gradient<S>(a, a_log, dt_bias, g, dg, d_a_log, d_dt_bias); });
}

} // namespace braid::ops::cuda

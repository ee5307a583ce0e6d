#include "ops/recurrence/causal_conv_kernels.h"

#include "ops/cuda/row_math.h"

namespace braid::ops::cuda {
namespace {

/// The convolution before the activation, of token t and channel c.
template <typename S, typename T = Accumulation<S>>
struct Convolution {
    const S* x;
    const T* w;
    const int32_t* before;
    int64_t stride, taps;

    Convolution(const Tensor& x, const Tensor& w, const ConvReach& reach)
        : x(x.data<S>()),
          w(w.data<T>()),
          before(reach.device_before.data<int32_t>()),
          stride(x.row_stride()),
          taps(w.dim(1)) {}
    __device__ __forceinline__ T input(int64_t t, int64_t c) const { return load(x[t * stride + c]); }
    /// Of the token j places ahead.
    __device__ __forceinline__ T weight(int64_t c, int64_t j) const { return w[c * taps + taps - 1 - j]; }
    __device__ __forceinline__ T at(int64_t t, int64_t c) const {
        T u = weight(c, 0) * input(t, c);
        for (int64_t j = 1; j <= before[t]; ++j) u += weight(c, j) * input(t - j, c);
        return u;
    }
};

template <typename S, typename T = Accumulation<S>>
void forward(const Tensor& x, const Tensor& w, const ConvReach& reach, bool silu, const Tensor& y) {
    const Convolution<S> conv(x, w, reach);
    const int64_t channels = x.dim(1);
    S* out = y.data<S>();
    for_each(y, y.numel(), [=] __device__(int64_t i) {
        const T u = conv.at(i / channels, i % channels);
        out[i] = static_cast<S>(silu ? u * sigmoid(u) : u);
    });
}

/// du [T, C], the gradient before the activation.
template <typename S, typename T = Accumulation<S>>
Tensor activation_gradient(const Tensor& x, const Tensor& w, const ConvReach& reach, bool silu,
                           const Tensor& dy, Allocator& allocator) {
    const Tensor du = Tensor::empty(allocator, x.shape(), dtype_of<T>());
    const Convolution<S> conv(x, w, reach);
    const S* grad = dy.data<S>();
    T* out = du.data<T>();
    const int64_t channels = x.dim(1), stride = dy.row_stride();
    for_each(du, du.numel(), [=] __device__(int64_t i) {
        const int64_t t = i / channels, c = i % channels;
        T g = load(grad[t * stride + c]);
        if (silu) {
            const T u = conv.at(t, c), s = sigmoid(u);
            g *= s * (T(1) + u * (T(1) - s));
        }
        out[i] = g;
    });
    return du;
}

template <typename S, typename T = Accumulation<S>>
void data_gradient(const Tensor& x, const Tensor& w, const ConvReach& reach, bool silu, const Tensor& dy,
                   const Tensor& dx, Allocator& allocator) {
    const Tensor before_activation = activation_gradient<S>(x, w, reach, silu, dy, allocator);
    const Convolution<S> conv(x, w, reach);
    const T* du = before_activation.data<T>();
    const int32_t* after = reach.device_after.data<int32_t>();
    S* out = dx.data<S>();
    const int64_t channels = x.dim(1);
    for_each(dx, dx.numel(), [=] __device__(int64_t i) {
        const int64_t t = i / channels, c = i % channels;
        T sum = conv.weight(c, 0) * du[i];
        for (int64_t j = 1; j <= after[t]; ++j) sum += conv.weight(c, j) * du[i + j * channels];
        out[i] = static_cast<S>(sum);
    });
}

template <typename S, typename T = Accumulation<S>>
void weight_gradient(const Tensor& x, const Tensor& w, const ConvReach& reach, bool silu, const Tensor& dy,
                     const Tensor& dw, Allocator& allocator) {
    const Tensor before_activation = activation_gradient<S>(x, w, reach, silu, dy, allocator);
    const Convolution<S> conv(x, w, reach);
    const T* du = before_activation.data<T>();
    const int64_t channels = x.dim(1), taps = w.dim(1);
    sum_columns<T>(x.dim(0), channels * taps, dw, [=] __device__(int64_t t, int64_t i) {
        const int64_t c = i / taps, j = taps - 1 - i % taps;
        return j <= conv.before[t] ? du[t * channels + c] * conv.input(t - j, c) : T(0);
    });
}

} // namespace

void causal_conv(const Tensor& x, const Tensor& w, const ConvReach& reach, bool silu, const Tensor& y,
                 Allocator&) {
    dispatch_storage(x.dtype(), [&]<typename S>() { forward<S>(x, w, reach, silu, y); });
}

void causal_conv_data_gradient(const Tensor& x, const Tensor& w, const ConvReach& reach, bool silu,
                               const Tensor& dy, const Tensor& dx, Allocator& allocator) {
    dispatch_storage(x.dtype(),
                     [&]<typename S>() { data_gradient<S>(x, w, reach, silu, dy, dx, allocator); });
}

void causal_conv_weight_gradient(const Tensor& x, const Tensor& w, const ConvReach& reach, bool silu,
                                 const Tensor& dy, const Tensor& dw, Allocator& allocator) {
    dispatch_storage(x.dtype(),
                     [&]<typename S>() { weight_gradient<S>(x, w, reach, silu, dy, dw, allocator); });
}

} // namespace braid::ops::cuda

#include "ops/basic/reduce_kernels.h"

#include "ops/cuda/row_math.h"

namespace braid::ops::cuda {
namespace {

constexpr int64_t kElements = 1 << 14; // that one block takes

/// Element i of a tensor whose rows may be strided, in order.
template <typename S>
struct Elements {
    const S* data;
    int64_t width, stride;

    explicit Elements(const Tensor& x)
        : data(x.data<S>()),
          width(x.is_contiguous() ? std::max<int64_t>(x.numel(), 1) : x.numel() / x.dim(0)),
          stride(x.row_stride()) {}
    __device__ __forceinline__ double operator[](int64_t i) const {
        return static_cast<double>(load(data[i / width * stride + i % width]));
    }
};

template <typename T>
__device__ __forceinline__ T larger(T a, T b) {
    return b > a || b != b ? b : a; // a NaN stays
}

template <typename S, bool kMax>
__global__ void partial_kernel(Elements<S> x, int64_t count, double* partial) {
    __shared__ double values[kThreads];
    const int64_t first = blockIdx.x * kElements,
                  last = first + kElements < count ? first + kElements : count;
    double value = 0;
    for (int64_t i = first + threadIdx.x; i < last; i += kThreads)
        value = kMax ? larger(value, std::abs(x[i])) : value + x[i] * x[i];
    values[threadIdx.x] = value;
    __syncthreads();
    for (unsigned half = kThreads / 2; half > 0; half /= 2) {
        if (threadIdx.x < half) {
            double& mine = values[threadIdx.x];
            const double other = values[threadIdx.x + half];
            mine = kMax ? larger(mine, other) : mine + other;
        }
        __syncthreads();
    }
    if (threadIdx.x == 0) partial[blockIdx.x] = values[0];
}

template <bool kMax>
__global__ void combine_kernel(const double* partial, int64_t count, double* out) {
    double value = 0;
    for (int64_t i = 0; i < count; ++i) value = kMax ? larger(value, partial[i]) : value + partial[i];
    *out = value;
}

template <typename S, bool kMax>
void reduce(const Tensor& x, const Tensor& out) {
    const int64_t blocks = (x.numel() + kElements - 1) / kElements;
    const Tensor partial = Tensor::empty(out.allocator(), {blocks}, DType::f64);
    launch(partial_kernel<S, kMax>, dim3(static_cast<unsigned>(blocks)), kThreads, 0, partial, Elements<S>(x),
           x.numel(), partial.data<double>());
    launch(combine_kernel<kMax>, 1, 1, 0, out, partial.data<double>(), blocks, out.data<double>());
}

} // namespace

void sum_of_squares(const Tensor& x, const Tensor& sum) {
    dispatch_storage(x.dtype(), [&]<typename S>() { reduce<S, false>(x, sum); });
}

void max_abs(const Tensor& x, const Tensor& largest) {
    dispatch_storage(x.dtype(), [&]<typename S>() { reduce<S, true>(x, largest); });
}

} // namespace braid::ops::cuda

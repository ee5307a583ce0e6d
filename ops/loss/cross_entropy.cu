#include "ops/loss/cross_entropy_kernels.h"

#include <algorithm>
#include <limits>

#include "ops/cuda/gemm.h"
#include "tensor/cuda/for_each.h"

namespace braid::ops::cuda {
namespace {

using namespace braid::cuda;
using cpu::kLabelElsewhere;
using cpu::kNoLabel;

/// y = softcap tanh(y / softcap).
template <typename T>
void cap(const Tensor& y, T softcap) {
    T* out = y.data<T>();
    for_each(y, y.numel(), [=] __device__(int64_t i) { out[i] = softcap * tanh(out[i] / softcap); });
}

/// y [rows, V] = the logits of h [rows, D].
template <typename T>
void logits_of(const Tensor& h, const Parameter& w, const LogitOptions& options, const Tensor& y) {
    gemm(y, false, true, options.logit_scale, matrix_of(h), matrix_of(w.compute_value()), 0, matrix_of(y));
    if (options.softcap > 0) cap(y, static_cast<T>(options.softcap));
}

/// The greatest of a block's values, on every thread.
template <typename T>
__device__ __forceinline__ T block_max(T value) {
    __shared__ T tops[kThreads / kWarp];
    value = warp_max(value);
    if (threadIdx.x % kWarp == 0) tops[threadIdx.x / kWarp] = value;
    __syncthreads();
    for (const T top : tops) value = top > value ? top : value;
    return value;
}

/// A block per token: lse and the label's logit of y [rows, vocabulary], read once. Each thread sums e^(y -
/// top) with the greatest y of its own that it has met, and the sums are then brought to the row's.
template <typename T>
__global__ void label_logits_kernel(const T* y, int64_t vocabulary, const int32_t* labels,
                                    double* label_logits, double* lse) {
    const int64_t row = blockIdx.x;
    const int32_t label = labels[row];
    double z = 0;
    y += row * vocabulary;
    if (label != kNoLabel) { // the same for the whole block
        T top = -std::numeric_limits<T>::infinity(), sum = 0;
        for (int64_t j = threadIdx.x; j < vocabulary; j += kThreads) {
            if (y[j] > top) {
                sum *= exp(top - y[j]);
                top = y[j];
            }
            sum += exp(y[j] - top);
        }
        const T highest = block_max(top);
        // A thread that met no number has nothing to bring.
        const T part = sum == T(0) ? T(0) : sum * exp(top - highest);
        z = static_cast<double>(highest) + log(static_cast<double>(block_sum(part)));
    }
    if (threadIdx.x != 0) return;
    lse[row] = z;
    label_logits[row] = label >= 0 ? static_cast<double>(y[label]) : 0;
}

/// What the gradients of a token's logits are made of.
template <typename T>
struct LogitGradient {
    const int32_t* labels;
    const double *lse, *factor, *z_factor; // factors may be null
    T softcap;

    /// Of the logit y in column j: p * pull, minus factor at the label, times the cap's derivative
    /// 1 - (y / softcap)², with p = e^(y - lse).
    __device__ __forceinline__ T operator()(int64_t token, int64_t j, T y) const {
        const int32_t label = labels[token];
        if (label == kNoLabel) return 0;
        const double loss = factor ? *factor : 0, z_loss = z_factor ? *z_factor : 0, z = lse[token];
        T dy = exp(y - static_cast<T>(z)) * static_cast<T>(loss + 2 * z_loss * z);
        if (j == label) dy -= static_cast<T>(loss);
        if (softcap > 0) {
            const T relative = y / softcap;
            dy *= T(1) - relative * relative;
        }
        return dy;
    }
};

/// dlogits [rows, V] = scale times the gradients of logits [rows, V]; may be the same memory.
template <typename T, typename Stored>
void find_gradients(const Tensor& logits, const LogitGradient<T>& gradient, T scale, const Tensor& dlogits) {
    const T* y = logits.data<T>();
    Stored* dy = dlogits.data<Stored>();
    const int64_t vocabulary = logits.dim(1);
    for_each(dlogits, logits.numel(), [=] __device__(int64_t i) {
        dy[i] = static_cast<Stored>(scale * gradient(i / vocabulary, i % vocabulary, y[i]));
    });
}

/// dh [rows, D] and dw from the gradients of the logits of h [rows, D].
void multiply_gradients(double scale, const Tensor& dlogits, const Tensor& h, const Parameter& w,
                        const Tensor& dh, const Tensor& dw) {
    gemm(dh, false, false, scale, matrix_of(dlogits), matrix_of(w.compute_value()), 0, matrix_of(dh));
    gemm(dw, true, false, scale, matrix_of(dlogits), matrix_of(h), 1, matrix_of(dw));
}

/// Calls body(first token, tokens) for one chunk after the other.
template <typename Body>
void for_each_chunk(const Tensor& h, const Tensor& chunk, const Body& body) {
    for (int64_t first = 0; first < h.dim(0); first += chunk.dim(0))
        body(first, std::min(chunk.dim(0), h.dim(0) - first));
}

template <typename T>
void find_label_logits(const Tensor& h, const Parameter& w, const Tensor& labels, const LogitOptions& options,
                       const Tensor& chunk, const Tensor& label_logits, const Tensor& lse) {
    for_each_chunk(h, chunk, [&](int64_t first, int64_t rows) {
        const Tensor y = chunk.rows(0, rows);
        logits_of<T>(h.rows(first, rows), w, options, y);
        launch(label_logits_kernel<T>, dim3(static_cast<unsigned>(rows)), kThreads, 0, lse, y.data<T>(),
               y.dim(1), labels.data<int32_t>() + first, label_logits.data<double>() + first,
               lse.data<double>() + first);
    });
}

template <typename T>
void add_gradients(const Tensor& h, const Parameter& w, const LogitOptions& options,
                   LogitGradient<T> gradient, const Tensor& chunk, const Tensor& dh, const Tensor& dw) {
    const bool is_rounded = h.dtype() == DType::bf16;
    const Tensor rounded = is_rounded ? Tensor::empty(chunk.allocator(), chunk.shape(), DType::bf16) : chunk;
    const auto scale = static_cast<T>(options.logit_scale);
    for_each_chunk(h, chunk, [&](int64_t first, int64_t rows) {
        const Tensor y = chunk.rows(0, rows), dy = rounded.rows(0, rows), part = h.rows(first, rows);
        logits_of<T>(part, w, options, y);
        if constexpr (sizeof(T) == 4)
            if (is_rounded) {
                find_gradients<T, bf16>(y, gradient, scale, dy);
                multiply_gradients(1, dy, part, w, dh.rows(first, rows), dw);
            }
        if (!is_rounded) {
            find_gradients<T, T>(y, gradient, T(1), dy);
            multiply_gradients(options.logit_scale, dy, part, w, dh.rows(first, rows), dw);
        }
        gradient.labels += rows;
        gradient.lse += rows;
    });
}

/// One block, whose threads add every kThreads-th token.
__global__ void sum_losses_kernel(int64_t tokens, const double* losses, const double* lse,
                                  double* cross_entropy, double* z_loss) {
    double loss_sum = 0, z_sum = 0;
    for (int64_t t = threadIdx.x; t < tokens; t += blockDim.x) {
        loss_sum += losses[t];
        z_sum += lse[t] * lse[t];
    }
    loss_sum = block_sum(loss_sum);
    z_sum = block_sum(z_sum);
    if (threadIdx.x != 0) return;
    *cross_entropy = loss_sum;
    *z_loss = z_sum;
}

} // namespace

void logits(const Tensor& h, const Parameter& w, const LogitOptions& options, const Tensor& y) {
    dispatch_float(y.dtype(), [&]<typename T>() { logits_of<T>(h, w, options, y); });
}

void label_logits(const Tensor& h, const Parameter& w, const Tensor& labels, const LogitOptions& options,
                  const Tensor& chunk, const Tensor& label_logits, const Tensor& lse) {
    dispatch_float(chunk.dtype(), [&]<typename T>() {
        find_label_logits<T>(h, w, labels, options, chunk, label_logits, lse);
    });
}

void cross_entropy_gradient(const Tensor& h, const Parameter& w, const Tensor& labels, const Tensor& lse,
                            const LogitOptions& options, const Tensor& factor, const Tensor& z_factor,
                            const Tensor& chunk, const Tensor& dh, const Tensor& dw) {
    const auto data_or_null = [](const Tensor& x) { return x.defined() ? x.data<double>() : nullptr; };
    dispatch_float(chunk.dtype(), [&]<typename T>() {
        add_gradients<T>(h, w, options,
                         {labels.data<int32_t>(), lse.data<double>(), data_or_null(factor),
                          data_or_null(z_factor), static_cast<T>(options.softcap)},
                         chunk, dh, dw);
    });
}

void local_labels(const Tensor& labels, int64_t first_row, int64_t num_rows, const Tensor& local) {
    const int32_t* label = labels.data<int32_t>();
    int32_t* out = local.data<int32_t>();
    for_each(local, labels.numel(), [=] __device__(int64_t t) {
        const int64_t row = label[t] - first_row;
        out[t] = label[t] == kNoLabel         ? kNoLabel
                 : row >= 0 && row < num_rows ? static_cast<int32_t>(row)
                                              : kLabelElsewhere;
    });
}

void finish_token_losses(const Tensor& labels, const Tensor& label_logits, const Tensor& lse,
                         const Tensor& losses) {
    const int32_t* label = labels.data<int32_t>();
    const double* at_label = label_logits.data<double>();
    double *z = lse.data<double>(), *loss = losses.data<double>();
    for_each(losses, labels.numel(), [=] __device__(int64_t t) {
        const bool counts = label[t] != kNoLabel;
        if (!counts) z[t] = 0; // of parts that are all 0
        loss[t] = counts ? z[t] - at_label[t] : 0;
    });
}

void sum_losses(const Tensor& losses, const Tensor& lse, const Tensor& cross_entropy, const Tensor& z_loss) {
    launch(sum_losses_kernel, 1, kThreads, 0, cross_entropy, losses.numel(), losses.data<double>(),
           lse.data<double>(), cross_entropy.data<double>(), z_loss.data<double>());
}

} // namespace braid::ops::cuda

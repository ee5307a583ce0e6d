#include "ops/kernels/cross_entropy.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "ops/cpu/gemm.h"
#include "ops/cpu/vector_math.h"
#include "ops/cpu/weights.h"

namespace braid::ops::cpu {
namespace {

/// y = softcap tanh(y / softcap).
template <typename T>
void cap_row(T softcap, T* y, int64_t n) {
    for (int64_t j = 0; j < n; ++j) y[j] /= softcap;
    tanh(y, y, n);
    for (int64_t j = 0; j < n; ++j) y[j] *= softcap;
}

/// Logits of `rows` tokens from h on, into y [rows, V].
template <typename T>
void logits_of_rows(const T* h, int64_t h_stride, int64_t rows, const Tensor& w, const LogitOptions& options,
                    T* y) {
    const int64_t vocabulary = w.dim(0);
    gemm<T>(false, true, rows, vocabulary, w.dim(1), static_cast<T>(options.logit_scale), h, h_stride,
            w.data<T>(), w.row_stride(), 0, y, vocabulary);
    if (options.softcap <= 0) return;
#pragma omp parallel for schedule(static) if (rows * vocabulary > 1 << 13)
    for (int64_t i = 0; i < rows; ++i)
        cap_row(static_cast<T>(options.softcap), y + i * vocabulary, vocabulary);
}

/// In place: logits to their gradients, p * pull minus `factor` at the label, times the cap's derivative
/// 1 - (logit / softcap)². p = e^(logit - lse).
template <typename T>
void logit_gradient_row(T lse, T pull, T factor, int64_t label, T softcap, T* y, int64_t n) {
    std::array<T, 1024> kept;
    for (int64_t first = 0; first < n; first += std::ssize(kept)) {
        T* part = y + first;
        const int64_t count = std::min(std::ssize(kept), n - first);
        if (softcap > 0) std::copy_n(part, count, kept.data());
        exp_sum(part, lse, part, count);
        for (int64_t j = 0; j < count; ++j) part[j] *= pull;
        if (label >= first && label < first + count) part[label - first] -= factor;
        if (softcap > 0)
            for (int64_t j = 0; j < count; ++j) {
                const T relative = kept[static_cast<size_t>(j)] / softcap;
                part[j] *= T(1) - relative * relative;
            }
    }
}

/// Calls body(first token, tokens) for one chunk after the other.
template <typename Body>
void for_each_chunk(const Tensor& h, const Tensor& chunk, const Body& body) {
    for (int64_t first = 0; first < h.dim(0); first += chunk.dim(0))
        body(first, std::min(chunk.dim(0), h.dim(0) - first));
}

/// What is left of x [n] when it is stored in bf16.
template <typename T>
void round_row(T* x, int64_t n) {
    for (int64_t j = 0; j < n; ++j) x[j] = static_cast<T>(static_cast<float>(bf16(static_cast<float>(x[j]))));
}

} // namespace

void logits(const Tensor& h, const Parameter& w, const LogitOptions& options, const Tensor& y) {
    const Tensor in = widened(h), weights = widened_weights(w);
    dispatch_float(y.dtype(), [&]<typename T>() {
        logits_of_rows(in.data<T>(), in.row_stride(), in.dim(0), weights, options, y.data<T>());
    });
}

void label_logits(const Tensor& h, const Parameter& w, const Tensor& labels, const LogitOptions& options,
                  const Tensor& chunk, const Tensor& label_logits, const Tensor& lse) {
    const Tensor in = widened(h), weights = widened_weights(w);
    dispatch_float(chunk.dtype(), [&]<typename T>() {
        const int64_t vocabulary = weights.dim(0);
        for_each_chunk(in, chunk, [&](int64_t first, int64_t rows) {
            logits_of_rows(in.data<T>() + first * in.row_stride(), in.row_stride(), rows, weights, options,
                           chunk.data<T>());
#pragma omp parallel for schedule(static) if (rows * vocabulary > 1 << 13)
            for (int64_t i = 0; i < rows; ++i) {
                const T* y = chunk.data<T>() + i * vocabulary;
                const int32_t label = labels.data<int32_t>()[first + i];
                double z = 0, label_logit = 0;
                if (label != kNoLabel) {
                    const T top = max_value(y, vocabulary);
                    z = static_cast<double>(top) +
                        std::log(static_cast<double>(exp_sum<T>(y, top, nullptr, vocabulary)));
                    if (label >= 0) label_logit = static_cast<double>(y[label]);
                }
                lse.data<double>()[first + i] = z;
                label_logits.data<double>()[first + i] = label_logit;
            }
        });
    });
}

void cross_entropy_gradient(const Tensor& h, const Parameter& w, const Tensor& labels, const Tensor& lse,
                            const LogitOptions& options, double factor, double z_factor, const Tensor& chunk,
                            const Tensor& dh, const Tensor& dw) {
    const Tensor in = widened(h), weights = widened_weights(w);
    const Rounded result(dh);
    dispatch_float(chunk.dtype(), [&]<typename T>() {
        const int64_t vocabulary = weights.dim(0), width = weights.dim(1);
        const T scale = static_cast<T>(options.logit_scale);
        for_each_chunk(in, chunk, [&](int64_t first, int64_t rows) {
            const T* x = in.data<T>() + first * in.row_stride();
            T* dlogits = chunk.data<T>();
            logits_of_rows(x, in.row_stride(), rows, weights, options, dlogits);
#pragma omp parallel for schedule(static) if (rows * vocabulary > 1 << 13)
            for (int64_t i = 0; i < rows; ++i) {
                T* row = dlogits + i * vocabulary;
                const int32_t label = labels.data<int32_t>()[first + i];
                const double z = lse.data<double>()[first + i];
                if (label == kNoLabel)
                    std::fill_n(row, vocabulary, T(0));
                else
                    logit_gradient_row(static_cast<T>(z), static_cast<T>(factor + 2 * z_factor * z),
                                       static_cast<T>(factor), label, static_cast<T>(options.softcap), row,
                                       vocabulary);
                if (h.dtype() == DType::bf16) round_row(row, vocabulary);
            }
            gemm<T>(false, false, rows, width, vocabulary, scale, dlogits, vocabulary, weights.data<T>(),
                    weights.row_stride(), 0, result.data<T>() + first * width, width);
            gemm<T>(true, false, vocabulary, width, rows, scale, dlogits, vocabulary, x, in.row_stride(), 1,
                    dw.data<T>(), width);
        });
    });
}

} // namespace braid::ops::cpu

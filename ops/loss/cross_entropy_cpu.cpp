#include "ops/loss/cross_entropy_kernels.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "ops/basic/elementwise_kernels.h"
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

/// The products of hidden states and head.
template <typename T>
class HeadProducts {
  public:
    HeadProducts(const Tensor& h, const Parameter& w, const LogitOptions& options)
        : h_(uses_onednn(h) ? h : widened(h)),
          weights_(uses_onednn(h) ? Tensor() : widened_weights(w)),
          w_(w),
          options_(options),
          is_rounded_(h.dtype() == DType::bf16) {}

    /// The logits of `rows` tokens from `first` on, into the first rows of y.
    void logits(int64_t first, int64_t rows, const Tensor& y) const {
        const int64_t vocabulary = y.dim(1);
        T* out = y.data<T>();
        const auto scale = static_cast<T>(options_.logit_scale);
        if (weights_.defined()) {
            gemm<T>(false, true, rows, vocabulary, h_.dim(1), scale, hidden(first), h_.row_stride(),
                    weights_.data<T>(), weights_.row_stride(), 0, out, vocabulary);
        } else {
            multiply_packed(h_.rows(first, rows), packed_transposed_weights(w_), std::array{int64_t{0}, rows},
                            y.rows(0, rows));
            for (int64_t i = 0; scale != T(1) && i < rows * vocabulary; ++i) out[i] *= scale;
        }
        if (options_.softcap <= 0) return;
#pragma omp parallel for schedule(static) if (rows * vocabulary > 1 << 13)
        for (int64_t i = 0; i < rows; ++i)
            cap_row(static_cast<T>(options_.softcap), out + i * vocabulary, vocabulary);
    }

    /// dh of the same tokens, and their part of dw, from the gradients of their logits, which are used up.
    void gradients(int64_t first, int64_t rows, const Tensor& dlogits, const Tensor& dh,
                   const Tensor& dw) const {
        const int64_t vocabulary = dlogits.dim(1), width = h_.dim(1);
        T* dy = dlogits.data<T>();
        auto scale = static_cast<T>(options_.logit_scale);
        if (is_rounded_) {
            for (int64_t i = 0; scale != T(1) && i < rows * vocabulary; ++i) dy[i] *= scale;
            scale = 1;
            const Tensor rounded = Tensor::empty(dlogits.allocator(), {rows, vocabulary}, DType::bf16);
            cast(dlogits.rows(0, rows), rounded);
            if (!weights_.defined()) {
                const std::array<int64_t, 2> group{0, rows};
                multiply_packed(rounded, packed_weights(w_), group, dh.rows(first, rows));
                return add_outer_products(rounded, h_.rows(first, rows), group, dw);
            }
            cast(rounded, dlogits.rows(0, rows));
        }
        gemm<T>(false, false, rows, width, vocabulary, scale, dy, vocabulary, weights_.data<T>(),
                weights_.row_stride(), 0, dh.data<T>() + first * width, width);
        gemm<T>(true, false, vocabulary, width, rows, scale, dy, vocabulary, hidden(first), h_.row_stride(),
                1, dw.data<T>(), width);
    }

  private:
    const T* hidden(int64_t token) const {
        return h_.data<T>() + token * h_.row_stride();
    }

    const Tensor h_, weights_; // weights undefined where oneDNN multiplies
    const Parameter& w_;
    const LogitOptions& options_;
    const bool is_rounded_;
};

double value_or_zero(const Tensor& scalar) {
    return scalar.defined() ? *scalar.data<double>() : 0;
}

} // namespace

void logits(const Tensor& h, const Parameter& w, const LogitOptions& options, const Tensor& y) {
    dispatch_float(y.dtype(), [&]<typename T>() { HeadProducts<T>(h, w, options).logits(0, h.dim(0), y); });
}

void label_logits(const Tensor& h, const Parameter& w, const Tensor& labels, const LogitOptions& options,
                  const Tensor& chunk, const Tensor& label_logits, const Tensor& lse) {
    dispatch_float(chunk.dtype(), [&]<typename T>() {
        const int64_t vocabulary = chunk.dim(1);
        const HeadProducts<T> head(h, w, options);
        for_each_chunk(h, chunk, [&](int64_t first, int64_t rows) {
            head.logits(first, rows, chunk);
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
                            const LogitOptions& options, const Tensor& factor_or_none,
                            const Tensor& z_factor_or_none, const Tensor& chunk, const Tensor& dh,
                            const Tensor& dw) {
    const Rounded result(dh);
    const double factor = value_or_zero(factor_or_none), z_factor = value_or_zero(z_factor_or_none);
    dispatch_float(chunk.dtype(), [&]<typename T>() {
        const int64_t vocabulary = chunk.dim(1);
        const HeadProducts<T> head(h, w, options);
        for_each_chunk(h, chunk, [&](int64_t first, int64_t rows) {
            head.logits(first, rows, chunk);
#pragma omp parallel for schedule(static) if (rows * vocabulary > 1 << 13)
            for (int64_t i = 0; i < rows; ++i) {
                T* row = chunk.data<T>() + i * vocabulary;
                const int32_t label = labels.data<int32_t>()[first + i];
                const double z = lse.data<double>()[first + i];
                if (label == kNoLabel)
                    std::fill_n(row, vocabulary, T(0));
                else
                    logit_gradient_row(static_cast<T>(z), static_cast<T>(factor + 2 * z_factor * z),
                                       static_cast<T>(factor), label, static_cast<T>(options.softcap), row,
                                       vocabulary);
            }
            head.gradients(first, rows, chunk, result, dw);
        });
    });
}

void local_labels(const Tensor& labels, int64_t first_row, int64_t num_rows, const Tensor& local) {
    for (int64_t t = 0; t < labels.numel(); ++t) {
        const int32_t label = labels.data<int32_t>()[t];
        const int64_t row = label - first_row;
        int32_t& out = local.data<int32_t>()[t];
        if (label == kNoLabel)
            out = kNoLabel;
        else
            out = row >= 0 && row < num_rows ? static_cast<int32_t>(row) : kLabelElsewhere;
    }
}

void finish_token_losses(const Tensor& labels, const Tensor& label_logits, const Tensor& lse,
                         const Tensor& losses) {
    for (int64_t t = 0; t < labels.numel(); ++t) {
        double& z = lse.data<double>()[t];
        const bool counts = labels.data<int32_t>()[t] != kNoLabel;
        if (!counts) z = 0; // of parts that are all 0
        losses.data<double>()[t] = counts ? z - label_logits.data<double>()[t] : 0;
    }
}

void sum_losses(const Tensor& losses, const Tensor& lse, const Tensor& cross_entropy, const Tensor& z_loss) {
    double loss_sum = 0, z_sum = 0;
    for (const double loss : losses.span<double>()) loss_sum += loss;
    for (const double z : lse.span<double>()) z_sum += z * z;
    *cross_entropy.data<double>() = loss_sum;
    *z_loss.data<double>() = z_sum;
}

} // namespace braid::ops::cpu

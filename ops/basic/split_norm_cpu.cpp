#include "ops/basic/split_norm_kernels.h"

#include <cmath>

#include "ops/cpu/rows.h"
#include "ops/cpu/vector_math.h"

namespace braid::ops::cpu {
namespace {

template <typename T>
T inverse_root(const Tensor& squares, int64_t row, const SplitNorm& norm) {
    return T(1) / std::sqrt(squares.data<T>()[row] / static_cast<T>(norm.width) + static_cast<T>(norm.eps));
}

template <typename T>
T multiplier(const T* w, int64_t j, bool zero_centered) {
    return zero_centered ? T(1) + w[j] : w[j];
}

} // namespace

void row_squares(const Tensor& x, const Tensor& squares) {
    dispatch_float(squares.dtype(), [&]<typename T>() {
        const Rows<const T> in(x);
#pragma omp parallel for schedule(static) if (x.numel() > 1 << 14)
        for (int64_t row = 0; row < in.count(); ++row)
            squares.data<T>()[row] = dot(in[row], in[row], in.width());
    });
}

void row_squares_gradient(const Tensor& x, const Tensor& dsquares, const Tensor& dx) {
    const Rounded result(dx);
    dispatch_float(dsquares.dtype(), [&]<typename T>() {
        const Rows<const T> in(x);
        const Rows<T> out(result);
#pragma omp parallel for schedule(static) if (x.numel() > 1 << 14)
        for (int64_t row = 0; row < in.count(); ++row)
            for (int64_t j = 0; j < in.width(); ++j)
                out[row][j] = T(2) * in[row][j] * dsquares.data<T>()[row];
    });
}

void rms_norm_given_squares(const Tensor& x, const Tensor& squares, const Tensor& w, const SplitNorm& norm,
                            const Tensor& y) {
    const Rounded result(y);
    dispatch_float(squares.dtype(), [&]<typename T>() {
        const Rows<const T> in(x);
        const Rows<T> out(result);
#pragma omp parallel for schedule(static) if (x.numel() > 1 << 14)
        for (int64_t row = 0; row < in.count(); ++row) {
            const T scale = inverse_root<T>(squares, row, norm);
            for (int64_t j = 0; j < in.width(); ++j)
                out[row][j] = in[row][j] * scale * multiplier(w.data<T>(), j, norm.zero_centered);
        }
    });
}

void rms_norm_given_squares_data_gradient(const Tensor& dy, const Tensor& x, const Tensor& squares,
                                          const Tensor& w, const SplitNorm& norm, const Tensor& dx,
                                          const Tensor& dsquares) {
    const Rounded result(dx);
    dispatch_float(squares.dtype(), [&]<typename T>() {
        const Rows<const T> grad(dy), in(x);
        const Rows<T> out(result);
#pragma omp parallel for schedule(static) if (x.numel() > 1 << 14)
        for (int64_t row = 0; row < in.count(); ++row) {
            const T scale = inverse_root<T>(squares, row, norm);
            T pull = 0;
            for (int64_t j = 0; j < in.width(); ++j) {
                const T g = grad[row][j] * multiplier(w.data<T>(), j, norm.zero_centered);
                out[row][j] = g * scale;
                pull += g * in[row][j];
            }
            // d/ds (s / width + eps)^(-1/2) = -scale³ / (2 width).
            dsquares.data<T>()[row] = -pull * scale * scale * scale / (T(2) * static_cast<T>(norm.width));
        }
    });
}

void rms_norm_given_squares_weight_gradient(const Tensor& dy, const Tensor& x, const Tensor& squares,
                                            const SplitNorm& norm, const Tensor& dw) {
    dispatch_float(squares.dtype(), [&]<typename T>() {
        const Rows<const T> grad(dy), in(x);
        for (int64_t row = 0; row < in.count(); ++row) {
            const T scale = inverse_root<T>(squares, row, norm);
            for (int64_t j = 0; j < in.width(); ++j) dw.data<T>()[j] += grad[row][j] * in[row][j] * scale;
        }
    });
}

} // namespace braid::ops::cpu

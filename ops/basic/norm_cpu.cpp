#include "ops/basic/norm_kernels.h"

#include <cmath>

#include "ops/cpu/rows.h"
#include "ops/cpu/vector_math.h"

namespace braid::ops::cpu {
namespace {

/// What x̂ is multiplied by, in one array: w, 1 + w, or ones.
template <typename T>
std::vector<T> multipliers(const Tensor& w, int64_t width, bool zero_centered) {
    std::vector<T> factor(static_cast<size_t>(width), T(1));
    if (!w.defined()) return factor;
    for (size_t j = 0; j < factor.size(); ++j) factor[j] = w.data<T>()[j] + (zero_centered ? T(1) : T(0));
    return factor;
}

/// dx = scale (g - x̂ mean(g ⊙ x̂)), where g is the gradient of x̂ and stands in dx, and x̂ = scale x.
template <typename T>
void finish_rms_gradient(const T* x, T scale, T* dx, int64_t n) {
    const T pull = scale * scale * dot(dx, x, n) / static_cast<T>(n);
    for (int64_t j = 0; j < n; ++j) dx[j] = scale * (dx[j] - pull * x[j]);
}

/// act[j] = act(gate[j]) and, if slope is not null, its derivative.
template <typename T>
void gate_row(const T* gate, GateKind kind, T* act, T* slope, int64_t n) {
    sigmoid(gate, act, n);
    if (kind == GateKind::sigmoid) {
        if (slope)
            for (int64_t j = 0; j < n; ++j) slope[j] = act[j] * (T(1) - act[j]);
        return;
    }
    if (slope)
        for (int64_t j = 0; j < n; ++j) slope[j] = act[j] * (T(1) + gate[j] * (T(1) - act[j]));
    for (int64_t j = 0; j < n; ++j) act[j] *= gate[j];
}

template <typename T>
T inverse_rms(const T* x, double eps, int64_t n) {
    return T(1) / std::sqrt(dot(x, x, n) / static_cast<T>(n) + static_cast<T>(eps));
}

} // namespace

void rms_norm(const Tensor& x, const Tensor& w, double eps, bool zero_centered, const Tensor& y,
              const Tensor& scale) {
    const Rounded result(y);
    dispatch_float(scale.dtype(), [&]<typename T>() {
        const Rows<const T> in(x);
        const Rows<T> out(result);
        const int64_t n = in.width();
        const auto factor = multipliers<T>(w, n, zero_centered);
#pragma omp parallel for schedule(static) if (y.numel() > 1 << 14)
        for (int64_t row = 0; row < in.count(); ++row) {
            const T* px = in[row];
            const T* f = factor.data();
            T* py = out[row];
            const T s = scale.data<T>()[row] = inverse_rms(px, eps, n);
            for (int64_t j = 0; j < n; ++j) py[j] = px[j] * s * f[j];
        }
    });
}

void rms_norm_data_gradient(const Tensor& dy, const Tensor& x, const Tensor& scale, const Tensor& w,
                            bool zero_centered, const Tensor& dx) {
    const Rounded result(dx);
    dispatch_float(scale.dtype(), [&]<typename T>() {
        const Rows<const T> in(x), grad(dy);
        const Rows<T> out(result);
        const int64_t n = in.width();
        const auto factor = multipliers<T>(w, n, zero_centered);
#pragma omp parallel for schedule(static) if (dx.numel() > 1 << 14)
        for (int64_t row = 0; row < in.count(); ++row) {
            const T* pdy = grad[row];
            const T* f = factor.data();
            T* pdx = out[row];
            for (int64_t j = 0; j < n; ++j) pdx[j] = pdy[j] * f[j];
            finish_rms_gradient(in[row], scale.data<T>()[row], pdx, n);
        }
    });
}

void rms_norm_weight_gradient(const Tensor& dy, const Tensor& x, const Tensor& scale, const Tensor& dw) {
    dispatch_float(dw.dtype(), [&]<typename T>() {
        const Rows<const T> in(x), grad(dy);
        const int64_t n = in.width();
        sum_rows(in.count(), n, dw.data<T>(), [&](int64_t row, T* sum, T*) {
            const T *px = in[row], *pdy = grad[row];
            const T s = scale.data<T>()[row];
            for (int64_t j = 0; j < n; ++j) sum[j] += pdy[j] * px[j] * s;
        });
    });
}

void layer_norm(const Tensor& x, const Tensor& w, const Tensor& b, double eps, const Tensor& y,
                const Tensor& mean, const Tensor& scale) {
    const Rounded result(y);
    dispatch_float(scale.dtype(), [&]<typename T>() {
        const Rows<const T> in(x);
        const Rows<T> out(result);
        const int64_t n = in.width();
        const auto factor = multipliers<T>(w, n, false);
        std::vector<T> offset(static_cast<size_t>(n));
        if (b.defined()) offset.assign(b.data<T>(), b.data<T>() + n);
#pragma omp parallel for schedule(static) if (y.numel() > 1 << 14)
        for (int64_t row = 0; row < in.count(); ++row) {
            const T *px = in[row], *f = factor.data(), *shift = offset.data();
            T* py = out[row];
            const T m = mean.data<T>()[row] = sum(px, n) / static_cast<T>(n);
            for (int64_t j = 0; j < n; ++j) py[j] = px[j] - m;
            const T s = scale.data<T>()[row] = inverse_rms(py, eps, n);
            for (int64_t j = 0; j < n; ++j) py[j] = py[j] * s * f[j] + shift[j];
        }
    });
}

void layer_norm_data_gradient(const Tensor& dy, const Tensor& x, const Tensor& mean, const Tensor& scale,
                              const Tensor& w, const Tensor& dx) {
    const Rounded result(dx);
    dispatch_float(scale.dtype(), [&]<typename T>() {
        const Rows<const T> in(x), grad(dy);
        const Rows<T> out(result);
        const int64_t n = in.width();
        const auto factor = multipliers<T>(w, n, false);
#pragma omp parallel if (dx.numel() > 1 << 14)
        {
            std::vector<T> normalized(static_cast<size_t>(n));
            T* x_hat = normalized.data();
#pragma omp for schedule(static)
            for (int64_t row = 0; row < in.count(); ++row) {
                const T *px = in[row], *pdy = grad[row], *f = factor.data();
                T* pdx = out[row];
                const T m = mean.data<T>()[row], s = scale.data<T>()[row];
                for (int64_t j = 0; j < n; ++j) {
                    x_hat[j] = (px[j] - m) * s;
                    pdx[j] = pdy[j] * f[j];
                }
                // dx = scale (g - mean(g) - x̂ mean(g ⊙ x̂)), g in pdx
                const T average = sum(pdx, n) / static_cast<T>(n),
                        pull = dot(pdx, x_hat, n) / static_cast<T>(n);
                for (int64_t j = 0; j < n; ++j) pdx[j] = s * (pdx[j] - average - pull * x_hat[j]);
            }
        }
    });
}

void layer_norm_weight_gradient(const Tensor& dy, const Tensor& x, const Tensor& mean, const Tensor& scale,
                                const Tensor& dw, const Tensor& db) {
    dispatch_float(scale.dtype(), [&]<typename T>() {
        const Rows<const T> in(x), grad(dy);
        const int64_t n = in.width();
        if (dw.defined())
            sum_rows(in.count(), n, dw.data<T>(), [&](int64_t row, T* sum, T*) {
                const T *px = in[row], *pdy = grad[row];
                const T m = mean.data<T>()[row], s = scale.data<T>()[row];
                for (int64_t j = 0; j < n; ++j) sum[j] += pdy[j] * (px[j] - m) * s;
            });
        if (db.defined())
            sum_rows(in.count(), n, db.data<T>(), [&](int64_t row, T* sum, T*) {
                const T* pdy = grad[row];
                for (int64_t j = 0; j < n; ++j) sum[j] += pdy[j];
            });
    });
}

void gated_rms_norm(const Tensor& x, const Tensor& gate, const Tensor& w, double eps, GateKind kind,
                    const Tensor& y, const Tensor& scale) {
    const Rounded result(y);
    dispatch_float(scale.dtype(), [&]<typename T>() {
        const Rows<const T> in(x), gates(gate);
        const Rows<T> out(result);
        const int64_t n = in.width();
        const T* f = w.data<T>();
#pragma omp parallel for schedule(static) if (y.numel() > 1 << 14)
        for (int64_t row = 0; row < in.count(); ++row) {
            const T* px = in[row];
            T* py = out[row];
            const T s = scale.data<T>()[row] = inverse_rms(px, eps, n);
            gate_row<T>(gates[row], kind, py, nullptr, n);
            for (int64_t j = 0; j < n; ++j) py[j] *= px[j] * s * f[j];
        }
    });
}

void gated_rms_norm_data_gradient(const Tensor& dy, const Tensor& x, const Tensor& gate, const Tensor& scale,
                                  const Tensor& w, GateKind kind, const Tensor& dx, const Tensor& dgate) {
    const Rounded result(dx), gate_result(dgate);
    dispatch_float(scale.dtype(), [&]<typename T>() {
        const Rows<const T> in(x), gates(gate), grad(dy);
        const Rows<T> out(result), gate_out(gate_result);
        const int64_t n = in.width();
        const T* f = w.data<T>();
#pragma omp parallel for schedule(static) if (dx.numel() > 1 << 14)
        for (int64_t row = 0; row < in.count(); ++row) {
            const T *px = in[row], *pdy = grad[row];
            T *pdx = out[row], *pdg = gate_out[row];
            const T s = scale.data<T>()[row];
            gate_row(gates[row], kind, pdx, pdg, n);
            for (int64_t j = 0; j < n; ++j) {
                const T g = pdy[j] * f[j];
                pdg[j] *= g * px[j] * s;
                pdx[j] *= g;
            }
            finish_rms_gradient(px, s, pdx, n);
        }
    });
}

void gated_rms_norm_weight_gradient(const Tensor& dy, const Tensor& x, const Tensor& gate,
                                    const Tensor& scale, GateKind kind, const Tensor& dw) {
    dispatch_float(dw.dtype(), [&]<typename T>() {
        const Rows<const T> in(x), gates(gate), grad(dy);
        const int64_t n = in.width();
        sum_rows(in.count(), n, dw.data<T>(), [&](int64_t row, T* sum, T* act) {
            const T *px = in[row], *pdy = grad[row];
            const T s = scale.data<T>()[row];
            gate_row<T>(gates[row], kind, act, nullptr, n);
            for (int64_t j = 0; j < n; ++j) sum[j] += pdy[j] * px[j] * s * act[j];
        });
    });
}

} // namespace braid::ops::cpu

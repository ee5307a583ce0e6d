#include "ops/basic/norm_kernels.h"

#include "ops/cuda/row_math.h"

namespace braid::ops::cuda {
namespace {

// A warp per row. S is what activations are stored in, T what is computed in.

/// What x̂ is multiplied by: w, 1 + w, or one.
template <typename T>
struct Multiplier {
    const T* w;
    T offset;

    Multiplier(const Tensor& weight, bool zero_centered)
        : w(weight.defined() ? weight.data<T>() : nullptr), offset(zero_centered ? T(1) : T(0)) {}
    __device__ __forceinline__ T operator[](int64_t j) const { return w ? w[j] + offset : T(1); }
};

template <typename T>
struct Gate {
    T value, slope;
};

template <typename T>
__device__ __forceinline__ Gate<T> gate_of(GateKind kind, T x) {
    const T s = sigmoid(x);
    if (kind == GateKind::sigmoid) return {s, s * (T(1) - s)};
    return {x * s, s * (T(1) + x * (T(1) - s))};
}

template <typename T>
__device__ __forceinline__ T inverse_root(T sum, int64_t n, T eps) {
    return T(1) / std::sqrt(sum / static_cast<T>(n) + eps);
}

template <typename S, typename T = Accumulation<S>>
void rms(const Tensor& x, const Tensor& w, double eps_value, bool zero_centered, const Tensor& y,
         const Tensor& scale) {
    const ReadRows<S> in(x);
    const RowsView<S> out = rows_of<S>(y);
    const Multiplier<T> factor(w, zero_centered);
    T* scales = scale.data<T>();
    const int64_t n = in.rows.width;
    const T eps = static_cast<T>(eps_value);
    for_each_row(y, in.rows.count, [=] __device__(int64_t row, int lane) {
        const T squares = warp_sum_of<T>(lane, n, [&](int64_t j) { return in.at(row, j) * in.at(row, j); });
        const T s = inverse_root(squares, n, eps);
        if (lane == 0) scales[row] = s;
        for (int64_t j = lane; j < n; j += kWarp) out[row][j] = static_cast<S>(in.at(row, j) * s * factor[j]);
    });
}

template <typename S, typename T = Accumulation<S>>
void rms_data_gradient(const Tensor& dy, const Tensor& x, const Tensor& scale, const Tensor& w,
                       bool zero_centered, const Tensor& dx) {
    const ReadRows<S> in(x), grad(dy);
    const RowsView<S> out = rows_of<S>(dx);
    const Multiplier<T> factor(w, zero_centered);
    const T* scales = scale.data<T>();
    const int64_t n = in.rows.width;
    for_each_row(dx, in.rows.count, [=] __device__(int64_t row, int lane) {
        const T s = scales[row];
        // dx = scale (g - x̂ mean(g ⊙ x̂)), x̂ = scale x
        const T along =
            warp_sum_of<T>(lane, n, [&](int64_t j) { return grad.at(row, j) * factor[j] * in.at(row, j); });
        const T pull = s * s * along / static_cast<T>(n);
        for (int64_t j = lane; j < n; j += kWarp)
            out[row][j] = static_cast<S>(s * (grad.at(row, j) * factor[j] - pull * in.at(row, j)));
    });
}

template <typename S, typename T = Accumulation<S>>
void rms_weight_gradient(const Tensor& dy, const Tensor& x, const Tensor& scale, const Tensor& dw) {
    const ReadRows<S> in(x), grad(dy);
    const T* scales = scale.data<T>();
    sum_columns<T>(in.rows.count, in.rows.width, dw, [=] __device__(int64_t row, int64_t j) {
        return grad.at(row, j) * in.at(row, j) * scales[row];
    });
}

template <typename S, typename T = Accumulation<S>>
void layer(const Tensor& x, const Tensor& w, const Tensor& b, double eps_value, const Tensor& y,
           const Tensor& mean, const Tensor& scale) {
    const ReadRows<S> in(x);
    const RowsView<S> out = rows_of<S>(y);
    const Multiplier<T> factor(w, false);
    const T* shift = b.defined() ? b.data<T>() : nullptr;
    T *means = mean.data<T>(), *scales = scale.data<T>();
    const int64_t n = in.rows.width;
    const T eps = static_cast<T>(eps_value);
    for_each_row(y, in.rows.count, [=] __device__(int64_t row, int lane) {
        const T m = warp_sum_of<T>(lane, n, [&](int64_t j) { return in.at(row, j); }) / static_cast<T>(n);
        const T squares =
            warp_sum_of<T>(lane, n, [&](int64_t j) { return (in.at(row, j) - m) * (in.at(row, j) - m); });
        const T s = inverse_root(squares, n, eps);
        if (lane == 0) {
            means[row] = m;
            scales[row] = s;
        }
        for (int64_t j = lane; j < n; j += kWarp)
            out[row][j] = static_cast<S>((in.at(row, j) - m) * s * factor[j] + (shift ? shift[j] : T(0)));
    });
}

template <typename S, typename T = Accumulation<S>>
void layer_data_gradient(const Tensor& dy, const Tensor& x, const Tensor& mean, const Tensor& scale,
                         const Tensor& w, const Tensor& dx) {
    const ReadRows<S> in(x), grad(dy);
    const RowsView<S> out = rows_of<S>(dx);
    const Multiplier<T> factor(w, false);
    const T *means = mean.data<T>(), *scales = scale.data<T>();
    const int64_t n = in.rows.width;
    for_each_row(dx, in.rows.count, [=] __device__(int64_t row, int lane) {
        const T m = means[row], s = scales[row], count = static_cast<T>(n);
        const auto g = [&](int64_t j) { return rounded_product(grad.at(row, j), factor[j]); };
        const auto normalized = [&](int64_t j) { return (in.at(row, j) - m) * s; };
        // dx = scale (g - mean(g) - x̂ mean(g ⊙ x̂))
        const T average = warp_sum_of<T>(lane, n, g) / count;
        const T pull = warp_sum_of<T>(lane, n, [&](int64_t j) { return g(j) * normalized(j); }) / count;
        for (int64_t j = lane; j < n; j += kWarp)
            out[row][j] = static_cast<S>(s * (g(j) - average - pull * normalized(j)));
    });
}

template <typename S, typename T = Accumulation<S>>
void layer_weight_gradient(const Tensor& dy, const Tensor& x, const Tensor& mean, const Tensor& scale,
                           const Tensor& dw, const Tensor& db) {
    const ReadRows<S> in(x), grad(dy);
    const T *means = mean.data<T>(), *scales = scale.data<T>();
    if (dw.defined())
        sum_columns<T>(in.rows.count, in.rows.width, dw, [=] __device__(int64_t row, int64_t j) {
            return grad.at(row, j) * (in.at(row, j) - means[row]) * scales[row];
        });
    if (db.defined())
        sum_columns<T>(in.rows.count, in.rows.width, db,
                       [=] __device__(int64_t row, int64_t j) { return grad.at(row, j); });
}

template <typename S, typename T = Accumulation<S>>
void gated_rms(const Tensor& x, const Tensor& gate, const Tensor& w, double eps_value, GateKind kind,
               const Tensor& y, const Tensor& scale) {
    const ReadRows<S> in(x), gates(gate);
    const RowsView<S> out = rows_of<S>(y);
    const T* factor = w.data<T>();
    T* scales = scale.data<T>();
    const int64_t n = in.rows.width;
    const T eps = static_cast<T>(eps_value);
    for_each_row(y, in.rows.count, [=] __device__(int64_t row, int lane) {
        const T squares = warp_sum_of<T>(lane, n, [&](int64_t j) { return in.at(row, j) * in.at(row, j); });
        const T s = inverse_root(squares, n, eps);
        if (lane == 0) scales[row] = s;
        for (int64_t j = lane; j < n; j += kWarp)
            out[row][j] =
                static_cast<S>(gate_of(kind, gates.at(row, j)).value * (in.at(row, j) * s * factor[j]));
    });
}

template <typename S, typename T = Accumulation<S>>
void gated_rms_data_gradient(const Tensor& dy, const Tensor& x, const Tensor& gate, const Tensor& scale,
                             const Tensor& w, GateKind kind, const Tensor& dx, const Tensor& dgate) {
    const ReadRows<S> in(x), gates(gate), grad(dy);
    const RowsView<S> out = rows_of<S>(dx), gate_out = rows_of<S>(dgate);
    const T *factor = w.data<T>(), *scales = scale.data<T>();
    const int64_t n = in.rows.width;
    for_each_row(dx, in.rows.count, [=] __device__(int64_t row, int lane) {
        const T s = scales[row];
        const T along = warp_sum_of<T>(lane, n, [&](int64_t j) {
            return gate_of(kind, gates.at(row, j)).value * (grad.at(row, j) * factor[j]) * in.at(row, j);
        });
        const T pull = s * s * along / static_cast<T>(n);
        for (int64_t j = lane; j < n; j += kWarp) {
            const Gate<T> act = gate_of(kind, gates.at(row, j));
            const T g = grad.at(row, j) * factor[j];
            gate_out[row][j] = static_cast<S>(act.slope * (g * in.at(row, j) * s));
            out[row][j] = static_cast<S>(s * (act.value * g - pull * in.at(row, j)));
        }
    });
}

template <typename S, typename T = Accumulation<S>>
void gated_rms_weight_gradient_of(const Tensor& dy, const Tensor& x, const Tensor& gate, const Tensor& scale,
                                  GateKind kind, const Tensor& dw) {
    const ReadRows<S> in(x), gates(gate), grad(dy);
    const T* scales = scale.data<T>();
    sum_columns<T>(in.rows.count, in.rows.width, dw, [=] __device__(int64_t row, int64_t j) {
        return grad.at(row, j) * in.at(row, j) * scales[row] * gate_of(kind, gates.at(row, j)).value;
    });
}

} // namespace

void rms_norm(const Tensor& x, const Tensor& w, double eps, bool zero_centered, const Tensor& y,
              const Tensor& scale) {
    dispatch_storage(x.dtype(), [&]<typename S>() { rms<S>(x, w, eps, zero_centered, y, scale); });
}
void rms_norm_data_gradient(const Tensor& dy, const Tensor& x, const Tensor& scale, const Tensor& w,
                            bool zero_centered, const Tensor& dx) {
    dispatch_storage(x.dtype(),
                     [&]<typename S>() { rms_data_gradient<S>(dy, x, scale, w, zero_centered, dx); });
}
void rms_norm_weight_gradient(const Tensor& dy, const Tensor& x, const Tensor& scale, const Tensor& dw) {
    dispatch_storage(x.dtype(), [&]<typename S>() { rms_weight_gradient<S>(dy, x, scale, dw); });
}
void layer_norm(const Tensor& x, const Tensor& w, const Tensor& b, double eps, const Tensor& y,
                const Tensor& mean, const Tensor& scale) {
    dispatch_storage(x.dtype(), [&]<typename S>() { layer<S>(x, w, b, eps, y, mean, scale); });
}
void layer_norm_data_gradient(const Tensor& dy, const Tensor& x, const Tensor& mean, const Tensor& scale,
                              const Tensor& w, const Tensor& dx) {
    dispatch_storage(x.dtype(), [&]<typename S>() { layer_data_gradient<S>(dy, x, mean, scale, w, dx); });
}
void layer_norm_weight_gradient(const Tensor& dy, const Tensor& x, const Tensor& mean, const Tensor& scale,
                                const Tensor& dw, const Tensor& db) {
    dispatch_storage(x.dtype(), [&]<typename S>() { layer_weight_gradient<S>(dy, x, mean, scale, dw, db); });
}
void gated_rms_norm(const Tensor& x, const Tensor& gate, const Tensor& w, double eps, GateKind kind,
                    const Tensor& y, const Tensor& scale) {
    dispatch_storage(x.dtype(), [&]<typename S>() { gated_rms<S>(x, gate, w, eps, kind, y, scale); });
}
void gated_rms_norm_data_gradient(const Tensor& dy, const Tensor& x, const Tensor& gate, const Tensor& scale,
                                  const Tensor& w, GateKind kind, const Tensor& dx, const Tensor& dgate) {
    dispatch_storage(
        x.dtype(), [&]<typename S>() { gated_rms_data_gradient<S>(dy, x, gate, scale, w, kind, dx, dgate); });
}
void gated_rms_norm_weight_gradient(const Tensor& dy, const Tensor& x, const Tensor& gate,
                                    const Tensor& scale, GateKind kind, const Tensor& dw) {
    dispatch_storage(x.dtype(),
                     [&]<typename S>() { gated_rms_weight_gradient_of<S>(dy, x, gate, scale, kind, dw); });
}

} // namespace braid::ops::cuda

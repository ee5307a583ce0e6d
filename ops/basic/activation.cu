#include "ops/basic/activation_kernels.h"

#include "ops/cuda/row_math.h"

namespace braid::ops::cuda {
namespace {

/// Dimension 0 with everything behind it, rows at any stride.
template <typename S>
struct Tokens {
    S* data;
    int64_t stride, count, width;

    explicit Tokens(const Tensor& x)
        : data(x.data<S>()), stride(x.row_stride()), count(x.dim(0)), width(count ? x.numel() / count : 1) {}
    __device__ __forceinline__ S& at(int64_t i) const { return data[i / width * stride + i % width]; }
};

template <typename T>
struct Activated {
    T value, slope;
};

template <typename T>
__device__ __forceinline__ Activated<T> activate(ActivationKind kind, T x) {
    if (kind == ActivationKind::relu2) {
        const T positive = x != x || x > T(0) ? x : T(0);
        return {positive * positive, positive + positive};
    }
    if (kind == ActivationKind::gelu) {
        // With u = sqrt(2/pi) (x + c x³): (1 + tanh u) / 2 = sigmoid(2u).
        const T a = T(1.5957691216057308), c = T(0.044715);
        const T s = sigmoid(a * x * (c * x * x + T(1)));
        return {x * s, x * s * (T(1) - s) * (a * (T(3) * c * x * x + T(1))) + s};
    }
    const T s = sigmoid(x);
    if (kind == ActivationKind::sigmoid) return {s, s * (T(1) - s)};
    return {x * s, s * (x * (T(1) - s) + T(1))};
}

template <typename S>
void forward(ActivationKind kind, const Tensor& x, const Tensor& y) {
    const Tokens<S> in(x), out(y);
    for_each(y, y.numel(),
             [=] __device__(int64_t i) { out.at(i) = static_cast<S>(activate(kind, load(in.at(i))).value); });
}

template <typename S>
void backward(ActivationKind kind, const Tensor& dy, const Tensor& x, const Tensor& dx) {
    const Tokens<S> grad(dy), in(x), out(dx);
    for_each(dx, dx.numel(), [=] __device__(int64_t i) {
        out.at(i) = static_cast<S>(load(grad.at(i)) * activate(kind, load(in.at(i))).slope);
    });
}

template <typename S>
void gated_forward(ActivationKind kind, const Tensor& gate, const Tensor& up, const Tensor& y) {
    const Tokens<S> gates(gate), ups(up), out(y);
    for_each(y, y.numel(), [=] __device__(int64_t i) {
        out.at(i) = static_cast<S>(activate(kind, load(gates.at(i))).value * load(ups.at(i)));
    });
}

template <typename S>
void gated_gradient(ActivationKind kind, const Tensor& dy, const Tensor& gate, const Tensor& up,
                    const Tensor& dgate, const Tensor& dup) {
    const Tokens<S> grad(dy), gates(gate), ups(up), gate_out(dgate), up_out(dup);
    for_each(dup, dup.numel(), [=] __device__(int64_t i) {
        const auto act = activate(kind, load(gates.at(i)));
        const auto g = load(grad.at(i));
        gate_out.at(i) = static_cast<S>(g * load(ups.at(i)) * act.slope);
        up_out.at(i) = static_cast<S>(g * act.value);
    });
}

template <typename S>
void gate_groups(const Tensor& x, const Tensor& gate, const Tensor& y) {
    const Tokens<S> in(x), gates(gate), out(y);
    const int64_t group = gates.width > 0 && in.width > 0 ? in.width / gates.width : 1;
    for_each(y, y.numel(), [=] __device__(int64_t i) {
        const int64_t token = i / in.width, of = token * gates.width + i % in.width / group;
        out.at(i) = static_cast<S>(load(in.at(i)) * sigmoid(load(gates.at(of))));
    });
}

template <typename S, typename T = Accumulation<S>>
void gate_groups_gradient(const Tensor& dy, const Tensor& x, const Tensor& gate, const Tensor& dx,
                          const Tensor& dgate) {
    const Tokens<S> grad(dy), in(x), gates(gate), out(dx), gate_out(dgate);
    const int64_t group = gates.width > 0 && in.width > 0 ? in.width / gates.width : 1;
    for_each_row(dgate, dgate.numel(), [=] __device__(int64_t g, int lane) {
        const T s = sigmoid(load(gates.at(g)));
        const int64_t first = g / gates.width * in.width + g % gates.width * group;
        const T along = warp_sum_of<T>(
            lane, group, [&](int64_t j) { return load(grad.at(first + j)) * load(in.at(first + j)); });
        if (lane == 0) gate_out.at(g) = static_cast<S>(along * s * (T(1) - s));
        for (int64_t j = lane; j < group; j += kWarp)
            out.at(first + j) = static_cast<S>(load(grad.at(first + j)) * s);
    });
}

} // namespace

void activation(ActivationKind kind, const Tensor& x, const Tensor& y) {
    dispatch_storage(y.dtype(), [&]<typename S>() { forward<S>(kind, x, y); });
}
void activation_backward(ActivationKind kind, const Tensor& dy, const Tensor& x, const Tensor& dx) {
    dispatch_storage(dx.dtype(), [&]<typename S>() { backward<S>(kind, dy, x, dx); });
}
void gated(ActivationKind kind, const Tensor& gate, const Tensor& up, const Tensor& y) {
    dispatch_storage(y.dtype(), [&]<typename S>() { gated_forward<S>(kind, gate, up, y); });
}
void gated_backward(ActivationKind kind, const Tensor& dy, const Tensor& gate, const Tensor& up,
                    const Tensor& dgate, const Tensor& dup) {
    dispatch_storage(dy.dtype(), [&]<typename S>() { gated_gradient<S>(kind, dy, gate, up, dgate, dup); });
}
void sigmoid_gate_groups(const Tensor& x, const Tensor& gate, const Tensor& y) {
    dispatch_storage(y.dtype(), [&]<typename S>() { gate_groups<S>(x, gate, y); });
}
void sigmoid_gate_groups_backward(const Tensor& dy, const Tensor& x, const Tensor& gate, const Tensor& dx,
                                  const Tensor& dgate) {
    dispatch_storage(dx.dtype(), [&]<typename S>() { gate_groups_gradient<S>(dy, x, gate, dx, dgate); });
}

} // namespace braid::ops::cuda

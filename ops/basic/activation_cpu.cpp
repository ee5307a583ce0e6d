#include "ops/basic/activation_kernels.h"

#include <array>
#include <vector>

#include "ops/cpu/vector_math.h"
#include "ops/cpu/widen.h"

#include "base/highway_targets.h"
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/basic/activation_cpu.cpp"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"
#include "ops/cpu/highway_dispatch.h"
#include "ops/cpu/vector_math-inl.h"

#ifndef BRAID_OPS_CPU_ACTIVATION_ROWS
#define BRAID_OPS_CPU_ACTIVATION_ROWS
namespace braid::ops::cpu {

/// Functions of n elements for one activation, element type and target.
template <typename T>
struct ActivationRows {
    void (*forward)(const T* x, T* y, int64_t n);
    void (*backward)(const T* dy, const T* x, T* dx, int64_t n);
    void (*gated)(const T* gate, const T* up, T* y, int64_t n);
    void (*gated_backward)(const T* dy, const T* gate, const T* up, T* dgate, T* dup, int64_t n);
};

} // namespace braid::ops::cpu
#endif

HWY_BEFORE_NAMESPACE();
namespace braid::ops::cpu::HWY_NAMESPACE {

namespace {

// Each activation gives its value and, as second result, its derivative.
struct Silu {
    template <class D, class V>
    static HWY_INLINE V evaluate(D d, V x, V& slope) {
        const V one = hn::Set(d, 1), s = sigmoid(d, x);
        slope = hn::Mul(s, hn::MulAdd(x, hn::Sub(one, s), one));
        return hn::Mul(x, s);
    }
};

struct Sigmoid {
    template <class D, class V>
    static HWY_INLINE V evaluate(D d, V x, V& slope) {
        const V s = sigmoid(d, x);
        slope = hn::Mul(s, hn::Sub(hn::Set(d, 1), s));
        return s;
    }
};

/// With u = sqrt(2/pi) (x + c x³): (1 + tanh u) / 2 = sigmoid(2u).
struct Gelu {
    template <class D, class V>
    static HWY_INLINE V evaluate(D d, V x, V& slope) {
        using T = hn::TFromD<D>;
        const V one = hn::Set(d, 1), a = hn::Set(d, static_cast<T>(1.5957691216057308)); // 2 sqrt(2/pi)
        const V c = hn::Set(d, static_cast<T>(0.044715)), square = hn::Mul(x, x);
        const V s = sigmoid(d, hn::Mul(hn::Mul(a, x), hn::MulAdd(c, square, one)));
        const V inner = hn::Mul(a, hn::MulAdd(hn::Set(d, static_cast<T>(3 * 0.044715)), square, one));
        slope = hn::MulAdd(hn::Mul(hn::Mul(x, s), hn::Sub(one, s)), inner, s);
        return hn::Mul(x, s);
    }
};

struct Relu2 {
    template <class D, class V>
    static HWY_INLINE V evaluate(D d, V x, V& slope) {
        const V positive = hn::IfThenElse(hn::IsNaN(x), x, hn::Max(x, hn::Zero(d)));
        slope = hn::Add(positive, positive);
        return hn::Mul(positive, positive);
    }
};

template <class Activation>
struct Forward {
    template <class D, class V>
    HWY_INLINE V operator()(D d, V x) const {
        V slope;
        return Activation::evaluate(d, x, slope);
    }
};

template <class Activation>
struct BackwardOf {
    template <class D, class V>
    HWY_INLINE V operator()(D d, V dy, V x) const {
        V slope;
        Activation::evaluate(d, x, slope);
        return hn::Mul(dy, slope);
    }
};

template <class Activation>
struct Gated {
    template <class D, class V>
    HWY_INLINE V operator()(D d, V gate, V up) const {
        V slope;
        return hn::Mul(Activation::evaluate(d, gate, slope), up);
    }
};

template <class Activation, typename T>
void forward_row(const T* x, T* y, int64_t n) {
    map_array(Forward<Activation>(), n, y, x);
}

template <class Activation, typename T>
void backward_row(const T* dy, const T* x, T* dx, int64_t n) {
    map_array(BackwardOf<Activation>(), n, dx, dy, x);
}

template <class Activation, typename T>
void gated_row(const T* gate, const T* up, T* y, int64_t n) {
    map_array(Gated<Activation>(), n, y, gate, up);
}

template <class Activation, typename T>
void gated_backward_row(const T* dy, const T* gate, const T* up, T* dgate, T* dup, int64_t n) {
    const hn::ScalableTag<T> d;
    const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
    for (int64_t i = 0; i < n; i += lanes) {
        const auto mask = hn::FirstN(d, static_cast<size_t>(std::min(lanes, n - i)));
        const auto vdy = hn::MaskedLoad(mask, d, dy + i);
        auto slope = hn::Undefined(d);
        const auto value = Activation::evaluate(d, hn::MaskedLoad(mask, d, gate + i), slope);
        hn::BlendedStore(hn::Mul(hn::Mul(vdy, hn::MaskedLoad(mask, d, up + i)), slope), mask, d, dgate + i);
        hn::BlendedStore(hn::Mul(vdy, value), mask, d, dup + i);
    }
}

template <class Activation, typename T>
constexpr ActivationRows<T> rows_of() {
    return {forward_row<Activation, T>, backward_row<Activation, T>, gated_row<Activation, T>,
            gated_backward_row<Activation, T>};
}

template <typename T>
const ActivationRows<T>& select(ActivationKind kind) { // in the order of the enumeration
    static constexpr std::array<ActivationRows<T>, 4> table{rows_of<Silu, T>(), rows_of<Sigmoid, T>(),
                                                            rows_of<Gelu, T>(), rows_of<Relu2, T>()};
    return table[static_cast<size_t>(kind)];
}

const ActivationRows<float>& select_f32(ActivationKind kind) {
    return select<float>(kind);
}

const ActivationRows<double>& select_f64(ActivationKind kind) {
    return select<double>(kind);
}

} // namespace
} // namespace braid::ops::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace braid::ops::cpu {
namespace {

BRAID_HIGHWAY_FUNCTIONS(activation_rows, select_f32, select_f64)

/// The tokens of a tensor: dimension 0 with everything behind it. A bf16 tensor of const elements is widened.
template <typename T>
struct Tokens {
    Tensor tensor;
    T* data;
    int64_t stride, count, width;

    explicit Tokens(const Tensor& x)
        : tensor(std::is_const_v<T> ? widened(x) : x),
          data(tensor.data<std::remove_const_t<T>>()),
          stride(tensor.row_stride()),
          count(x.dim(0)),
          width(count ? x.numel() / count : 0) {}
    T* operator[](int64_t t) const { return data + t * stride; }
};

} // namespace

void activation(ActivationKind kind, const Tensor& x, const Tensor& y) {
    const Rounded result(y);
    dispatch_float(accumulation_dtype(y.dtype()), [&]<typename T>() {
        const Tokens<const T> in(x);
        const Tokens<T> out(result);
        const auto& rows = activation_rows<T>(kind);
#pragma omp parallel for schedule(static) if (y.numel() > 1 << 13)
        for (int64_t t = 0; t < in.count; ++t) rows.forward(in[t], out[t], in.width);
    });
}

void activation_backward(ActivationKind kind, const Tensor& dy, const Tensor& x, const Tensor& dx) {
    const Rounded result(dx);
    dispatch_float(accumulation_dtype(dx.dtype()), [&]<typename T>() {
        const Tokens<const T> grad(dy), in(x);
        const Tokens<T> out(result);
        const auto& rows = activation_rows<T>(kind);
#pragma omp parallel for schedule(static) if (dx.numel() > 1 << 13)
        for (int64_t t = 0; t < in.count; ++t) rows.backward(grad[t], in[t], out[t], in.width);
    });
}

void gated(ActivationKind kind, const Tensor& gate, const Tensor& up, const Tensor& y) {
    const Rounded result(y);
    dispatch_float(accumulation_dtype(y.dtype()), [&]<typename T>() {
        const Tokens<const T> gates(gate), ups(up);
        const Tokens<T> out(result);
        const auto& rows = activation_rows<T>(kind);
#pragma omp parallel for schedule(static) if (y.numel() > 1 << 13)
        for (int64_t t = 0; t < out.count; ++t) rows.gated(gates[t], ups[t], out[t], out.width);
    });
}

void gated_backward(ActivationKind kind, const Tensor& dy, const Tensor& gate, const Tensor& up,
                    const Tensor& dgate, const Tensor& dup) {
    const Rounded gate_result(dgate), up_result(dup);
    dispatch_float(accumulation_dtype(dy.dtype()), [&]<typename T>() {
        const Tokens<const T> grad(dy), gates(gate), ups(up);
        const Tokens<T> gate_out(gate_result), up_out(up_result);
        const auto& rows = activation_rows<T>(kind);
#pragma omp parallel for schedule(static) if (dy.numel() > 1 << 13)
        for (int64_t t = 0; t < grad.count; ++t)
            rows.gated_backward(grad[t], gates[t], ups[t], gate_out[t], up_out[t], grad.width);
    });
}

void sigmoid_gate_groups(const Tensor& x, const Tensor& gate, const Tensor& y) {
    const Rounded result(y);
    dispatch_float(accumulation_dtype(y.dtype()), [&]<typename T>() {
        const Tokens<const T> in(x), gates(gate);
        const Tokens<T> out(result);
        const int64_t group = gates.width ? in.width / gates.width : 0;
#pragma omp parallel for schedule(static) if (y.numel() > 1 << 13)
        for (int64_t t = 0; t < in.count; ++t)
            for (int64_t g = 0; g < gates.width; ++g) {
                T s;
                sigmoid(gates[t] + g, &s, 1);
                const T* px = in[t] + g * group;
                T* py = out[t] + g * group;
                for (int64_t j = 0; j < group; ++j) py[j] = px[j] * s;
            }
    });
}

void sigmoid_gate_groups_backward(const Tensor& dy, const Tensor& x, const Tensor& gate, const Tensor& dx,
                                  const Tensor& dgate) {
    const Rounded result(dx), gate_result(dgate);
    dispatch_float(accumulation_dtype(dx.dtype()), [&]<typename T>() {
        const Tokens<const T> grad(dy), in(x), gates(gate);
        const Tokens<T> out(result), gate_out(gate_result);
        const int64_t group = gates.width ? in.width / gates.width : 0;
#pragma omp parallel for schedule(static) if (dx.numel() > 1 << 13)
        for (int64_t t = 0; t < in.count; ++t)
            for (int64_t g = 0; g < gates.width; ++g) {
                T s;
                sigmoid(gates[t] + g, &s, 1);
                const T *pdy = grad[t] + g * group, *px = in[t] + g * group;
                T* pdx = out[t] + g * group;
                gate_out[t][g] = dot(pdy, px, group) * s * (T(1) - s);
                for (int64_t j = 0; j < group; ++j) pdx[j] = pdy[j] * s;
            }
    });
}

} // namespace braid::ops::cpu
#endif

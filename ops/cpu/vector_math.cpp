#include "ops/cpu/vector_math.h"

#include "base/highway_targets.h"
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/cpu/vector_math.cpp"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"
#include "ops/cpu/highway_dispatch.h"
#include "ops/cpu/vector_math-inl.h"

#ifndef BRAID_OPS_CPU_VECTOR_MATH_TABLE
#define BRAID_OPS_CPU_VECTOR_MATH_TABLE
namespace braid::ops::cpu {

/// The functions of one target for one element type.
template <typename T>
struct VectorMath {
    void (*exp)(const T*, T*, int64_t);
    void (*log)(const T*, T*, int64_t);
    void (*tanh)(const T*, T*, int64_t);
    void (*sigmoid)(const T*, T*, int64_t);
    void (*silu)(const T*, T*, int64_t);
    void (*silu_backward)(const T*, const T*, T*, int64_t);
    void (*softplus)(const T*, T*, int64_t);
    T (*exp_sum)(const T*, T, T*, int64_t);
    T (*max_value)(const T*, int64_t);
    T (*sum)(const T*, int64_t);
    T (*dot)(const T*, const T*, int64_t);
};

} // namespace braid::ops::cpu
#endif

HWY_BEFORE_NAMESPACE();
namespace braid::ops::cpu::HWY_NAMESPACE {

namespace {

struct Exp {
    template <class D, class V>
    HWY_INLINE V operator()(D d, V x) const {
        return exp(d, x);
    }
};
struct Log {
    template <class D, class V>
    HWY_INLINE V operator()(D d, V x) const { // Highway's logarithm is for positive finite numbers
        const V zero = hn::Zero(d), inf = hn::Inf(d);
        const V positive = hn::IfThenElse(hn::Eq(x, inf), inf, hn::Log(d, x));
        const V other = hn::IfThenElse(hn::Eq(x, zero), hn::Neg(inf), hn::NaN(d));
        return hn::IfThenElse(hn::Gt(x, zero), positive, other);
    }
};
struct Tanh {
    template <class D, class V>
    HWY_INLINE V operator()(D d, V x) const {
        return tanh(d, x);
    }
};
struct Sigmoid {
    template <class D, class V>
    HWY_INLINE V operator()(D d, V x) const {
        return sigmoid(d, x);
    }
};
struct Silu {
    template <class D, class V>
    HWY_INLINE V operator()(D d, V x) const {
        return silu(d, x);
    }
};
struct SiluBackward {
    template <class D, class V>
    HWY_INLINE V operator()(D d, V x, V dy) const {
        return hn::Mul(dy, silu_derivative(d, x));
    }
};
struct Softplus {
    template <class D, class V>
    HWY_INLINE V operator()(D d, V x) const {
        return softplus(d, x);
    }
};

template <class Function, typename T>
void unary(const T* x, T* y, int64_t n) {
    map_array(Function(), n, y, x);
}

template <typename T>
void silu_backward_array(const T* x, const T* dy, T* dx, int64_t n) {
    map_array(SiluBackward(), n, dx, x, dy);
}

template <typename T>
T exp_sum_array(const T* x, T shift, T* y, int64_t n) {
    const hn::ScalableTag<T> d;
    const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
    const auto by = hn::Set(d, shift);
    auto total = hn::Zero(d);
    int64_t i = 0;
    for (; i + lanes <= n; i += lanes) {
        const auto e = exp(d, hn::Sub(hn::LoadU(d, x + i), by));
        if (y) hn::StoreU(e, d, y + i);
        total = hn::Add(total, e);
    }
    if (i < n) {
        const auto mask = hn::FirstN(d, static_cast<size_t>(n - i));
        const auto e = exp(d, hn::Sub(hn::MaskedLoad(mask, d, x + i), by));
        if (y) hn::BlendedStore(e, mask, d, y + i);
        total = hn::Add(total, hn::IfThenElseZero(mask, e));
    }
    return hn::GetLane(hn::SumOfLanes(d, total));
}

template <typename T>
T max_array(const T* x, int64_t n) {
    const hn::ScalableTag<T> d;
    const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
    auto best = hn::Neg(hn::Inf(d)), poison = hn::Zero(d); // poison becomes NaN when an element is
    int64_t i = 0;
    for (; i + lanes <= n; i += lanes) {
        const auto v = hn::LoadU(d, x + i);
        best = hn::Max(best, v);
        poison = hn::IfThenElse(hn::IsNaN(v), v, poison);
    }
    if (i < n) {
        const auto mask = hn::FirstN(d, static_cast<size_t>(n - i));
        const auto v = hn::IfThenElse(mask, hn::MaskedLoad(mask, d, x + i), best);
        best = hn::Max(best, v);
        poison = hn::IfThenElse(hn::IsNaN(v), v, poison);
    }
    const T nan_or_zero = hn::GetLane(hn::SumOfLanes(d, poison));
    return nan_or_zero != nan_or_zero ? nan_or_zero : hn::GetLane(hn::MaxOfLanes(d, best));
}

template <typename T>
T sum_array(const T* x, int64_t n) {
    const hn::ScalableTag<T> d;
    const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
    auto even = hn::Zero(d), odd = hn::Zero(d);
    int64_t i = 0;
    for (; i + 2 * lanes <= n; i += 2 * lanes) {
        even = hn::Add(even, hn::LoadU(d, x + i));
        odd = hn::Add(odd, hn::LoadU(d, x + i + lanes));
    }
    for (; i < n; i += lanes) {
        const auto mask = hn::FirstN(d, static_cast<size_t>(n - i));
        even = hn::Add(even, hn::MaskedLoad(mask, d, x + i));
    }
    return hn::GetLane(hn::SumOfLanes(d, hn::Add(even, odd)));
}

template <typename T>
T dot_array(const T* a, const T* b, int64_t n) {
    const hn::ScalableTag<T> d;
    const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
    auto even = hn::Zero(d), odd = hn::Zero(d);
    int64_t i = 0;
    for (; i + 2 * lanes <= n; i += 2 * lanes) {
        even = hn::MulAdd(hn::LoadU(d, a + i), hn::LoadU(d, b + i), even);
        odd = hn::MulAdd(hn::LoadU(d, a + i + lanes), hn::LoadU(d, b + i + lanes), odd);
    }
    for (; i < n; i += lanes) {
        const auto mask = hn::FirstN(d, static_cast<size_t>(n - i));
        even = hn::MulAdd(hn::MaskedLoad(mask, d, a + i), hn::MaskedLoad(mask, d, b + i), even);
    }
    return hn::GetLane(hn::SumOfLanes(d, hn::Add(even, odd)));
}

template <typename T>
const VectorMath<T>& make_table() {
    static constexpr VectorMath<T> table{unary<Exp, T>,      unary<Log, T>,    unary<Tanh, T>,
                                         unary<Sigmoid, T>,  unary<Silu, T>,   silu_backward_array<T>,
                                         unary<Softplus, T>, exp_sum_array<T>, max_array<T>,
                                         sum_array<T>,       dot_array<T>};
    return table;
}

const VectorMath<float>& table_f32() {
    return make_table<float>();
}
const VectorMath<double>& table_f64() {
    return make_table<double>();
}

} // namespace
} // namespace braid::ops::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace braid::ops::cpu {
namespace {

BRAID_HIGHWAY_FUNCTIONS(table, table_f32, table_f64)

} // namespace

template <typename T>
void exp(const T* x, T* y, int64_t n) {
    table<T>().exp(x, y, n);
}

template <typename T>
void log(const T* x, T* y, int64_t n) {
    table<T>().log(x, y, n);
}

template <typename T>
void tanh(const T* x, T* y, int64_t n) {
    table<T>().tanh(x, y, n);
}

template <typename T>
void sigmoid(const T* x, T* y, int64_t n) {
    table<T>().sigmoid(x, y, n);
}

template <typename T>
void silu(const T* x, T* y, int64_t n) {
    table<T>().silu(x, y, n);
}

template <typename T>
void silu_backward(const T* x, const T* dy, T* dx, int64_t n) {
    table<T>().silu_backward(x, dy, dx, n);
}

template <typename T>
void softplus(const T* x, T* y, int64_t n) {
    table<T>().softplus(x, y, n);
}

template <typename T>
T exp_sum(const T* x, T shift, T* y, int64_t n) {
    return table<T>().exp_sum(x, shift, y, n);
}

template <typename T>
T max_value(const T* x, int64_t n) {
    return table<T>().max_value(x, n);
}

template <typename T>
T sum(const T* x, int64_t n) {
    return table<T>().sum(x, n);
}

template <typename T>
T dot(const T* a, const T* b, int64_t n) {
    return table<T>().dot(a, b, n);
}

#define BRAID_INSTANTIATE(T)                                      \
    template void exp(const T*, T*, int64_t);                     \
    template void log(const T*, T*, int64_t);                     \
    template void tanh(const T*, T*, int64_t);                    \
    template void sigmoid(const T*, T*, int64_t);                 \
    template void silu(const T*, T*, int64_t);                    \
    template void silu_backward(const T*, const T*, T*, int64_t); \
    template void softplus(const T*, T*, int64_t);                \
    template T exp_sum(const T*, T, T*, int64_t);                 \
    template T max_value(const T*, int64_t);                      \
    template T sum(const T*, int64_t);                            \
    template T dot(const T*, const T*, int64_t);
BRAID_INSTANTIATE(float)
BRAID_INSTANTIATE(double)
#undef BRAID_INSTANTIATE

} // namespace braid::ops::cpu
#endif

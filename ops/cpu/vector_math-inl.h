// Functions of Highway vectors, compiled once per target: include after "hwy/highway.h" in a file that
// includes "hwy/foreach_target.h". Highway's own exp and tanh turn NaN into numbers; these keep it, so that a
// training step that went wrong is seen.
#if defined(BRAID_OPS_CPU_VECTOR_MATH_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef BRAID_OPS_CPU_VECTOR_MATH_INL_H
#undef BRAID_OPS_CPU_VECTOR_MATH_INL_H
#else
#define BRAID_OPS_CPU_VECTOR_MATH_INL_H
#endif

#include <cstdint>

#include "hwy/contrib/math/math-inl.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace braid::ops::cpu::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

/// e^x: error 1 ulp, infinity above the range.
template <class D, class V>
HWY_INLINE V exp(D d, V x) {
    using T = hn::TFromD<D>;
    const V top = hn::Set(d, static_cast<T>(sizeof(T) == 4 ? 88.75 : 709.8)); // e^top is infinity
    const V y = hn::IfThenElse(hn::Ge(x, top), hn::Inf(d), hn::Exp(d, hn::Min(x, top)));
    return hn::IfThenElse(hn::IsNaN(x), x, y);
}

template <class D, class V>
HWY_INLINE V tanh(D d, V x) {
    return hn::IfThenElse(hn::IsNaN(x), x, hn::Tanh(d, x));
}

/// 1 / (1 + e^-x), with small relative error in both tails.
template <class D, class V>
HWY_INLINE V sigmoid(D d, V x) {
    const V one = hn::Set(d, 1), e = hn::Exp(d, hn::Neg(hn::Abs(x)));
    const V y = hn::Div(hn::IfThenElse(hn::Lt(x, hn::Zero(d)), e, one), hn::Add(one, e));
    return hn::IfThenElse(hn::IsNaN(x), x, y);
}

template <class D, class V>
HWY_INLINE V silu(D d, V x) {
    return hn::Mul(x, sigmoid(d, x));
}

/// d silu(x) / dx = s (1 + x (1 - s)), s = sigmoid(x).
template <class D, class V>
HWY_INLINE V silu_derivative(D d, V x) {
    const V one = hn::Set(d, 1), s = sigmoid(d, x);
    return hn::Mul(s, hn::MulAdd(x, hn::Sub(one, s), one));
}

/// log(1 + e^x) = max(x, 0) + log1p(e^-|x|).
template <class D, class V>
HWY_INLINE V softplus(D d, V x) {
    const V y = hn::Add(hn::Max(x, hn::Zero(d)), hn::Log1p(d, hn::Exp(d, hn::Neg(hn::Abs(x)))));
    return hn::IfThenElse(hn::IsNaN(x), x, y);
}

/// y[i] = function(d, x[i]...) for i < n, the rest of the last vector masked. Arrays may be equal, not
/// overlapping otherwise. Function is a type with a template `operator()(d, vectors...)`, marked HWY_INLINE.
template <class Function, typename T, typename... Inputs>
HWY_INLINE void map_array(const Function& function, int64_t n, T* y, const Inputs*... x) {
    const hn::ScalableTag<T> d;
    const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
    int64_t i = 0;
    for (; i + lanes <= n; i += lanes) hn::StoreU(function(d, hn::LoadU(d, x + i)...), d, y + i);
    if (i == n) return;
    const auto mask = hn::FirstN(d, static_cast<size_t>(n - i));
    hn::BlendedStore(function(d, hn::MaskedLoad(mask, d, x + i)...), mask, d, y + i);
}

} // namespace braid::ops::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif // BRAID_OPS_CPU_VECTOR_MATH_INL_H

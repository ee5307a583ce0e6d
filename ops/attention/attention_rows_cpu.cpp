#include "ops/attention/attention_rows_cpu.h"

#include <algorithm>
#include <cmath>

#include "base/highway_targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/attention/attention_rows_cpu.cpp"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"
#include "ops/cpu/highway_dispatch.h"
#include "ops/cpu/vector_math-inl.h"

#ifndef BRAID_OPS_CPU_ATTENTION_ROWS_TABLE
#define BRAID_OPS_CPU_ATTENTION_ROWS_TABLE
namespace braid::ops::cpu {

/// The functions of one target for one element type.
template <typename T>
struct RowFunctions {
    decltype(&online_softmax_rows<T>) online_softmax;
    decltype(&softmax_rows<T>) softmax;
};

} // namespace braid::ops::cpu
#endif

HWY_BEFORE_NAMESPACE();
namespace braid::ops::cpu::HWY_NAMESPACE {
namespace {

template <typename T>
HWY_ATTR T largest(const T* x, int64_t n, T start) {
    const hn::ScalableTag<T> d;
    const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
    auto top = hn::Set(d, start);
    int64_t i = 0;
    for (; i + lanes <= n; i += lanes) top = hn::Max(top, hn::LoadU(d, x + i));
    if (i < n) {
        const auto mask = hn::FirstN(d, static_cast<size_t>(n - i));
        top = hn::Max(top, hn::IfThenElse(mask, hn::MaskedLoad(mask, d, x + i), top));
    }
    return hn::GetLane(hn::MaxOfLanes(d, top));
}

/// x = factor exp(x - shift); returns the sum.
template <typename T>
HWY_ATTR T shifted_exp(T* x, int64_t n, T shift, T factor) {
    const hn::ScalableTag<T> d;
    const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
    const auto s = hn::Set(d, shift), f = hn::Set(d, factor);
    auto sum = hn::Zero(d);
    int64_t i = 0;
    for (; i + lanes <= n; i += lanes) {
        const auto y = hn::Mul(f, exp(d, hn::Sub(hn::LoadU(d, x + i), s)));
        hn::StoreU(y, d, x + i);
        sum = hn::Add(sum, y);
    }
    if (i < n) {
        const auto mask = hn::FirstN(d, static_cast<size_t>(n - i));
        const auto y = hn::Mul(f, exp(d, hn::Sub(hn::MaskedLoad(mask, d, x + i), s)));
        hn::BlendedStore(y, mask, d, x + i);
        sum = hn::Add(sum, hn::IfThenElseZero(mask, y));
    }
    return hn::GetLane(hn::SumOfLanes(d, sum));
}

template <typename T>
HWY_ATTR void online_softmax(int64_t rows, int64_t columns, const VisibleColumns* visible, T* s, int64_t ld,
                             T* row_max, T* row_sum, T* factor) {
    for (int64_t r = 0; r < rows; ++r, s += ld) {
        const auto [begin, end] = visible[r];
        factor[r] = 1;
        if (begin >= end) {
            std::fill(s, s + columns, T(0));
            continue;
        }
        std::fill(s, s + begin, T(0));
        std::fill(s + end, s + columns, T(0));
        const T top = largest(s + begin, end - begin, row_max[r]);
        if (top != row_max[r]) factor[r] = std::exp(row_max[r] - top);
        row_sum[r] = factor[r] * row_sum[r] + shifted_exp(s + begin, end - begin, top, T(1));
        row_max[r] = top;
    }
}

template <typename T>
HWY_ATTR void softmax(int64_t rows, int64_t columns, const VisibleColumns* visible, T* s, int64_t ld,
                      const T* row_max, const T* inverse_sum) {
    for (int64_t r = 0; r < rows; ++r, s += ld) {
        const auto [begin, end] = visible[r];
        std::fill(s, s + std::clamp<int64_t>(begin, 0, columns), T(0));
        if (begin < end) shifted_exp(s + begin, end - begin, row_max[r], inverse_sum[r]);
        std::fill(s + std::max(begin, end), s + columns, T(0));
    }
}

RowFunctions<float> functions_f32() {
    return {online_softmax<float>, softmax<float>};
}
RowFunctions<double> functions_f64() {
    return {online_softmax<double>, softmax<double>};
}

} // namespace
} // namespace braid::ops::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace braid::ops::cpu {
namespace {

BRAID_HIGHWAY_FUNCTIONS(functions, functions_f32, functions_f64)

} // namespace

template <typename T>
void online_softmax_rows(int64_t rows, int64_t columns, const VisibleColumns* visible, T* s, int64_t ld,
                         T* row_max, T* row_sum, T* factor) {
    functions<T>().online_softmax(rows, columns, visible, s, ld, row_max, row_sum, factor);
}

template <typename T>
void softmax_rows(int64_t rows, int64_t columns, const VisibleColumns* visible, T* s, int64_t ld,
                  const T* row_max, const T* inverse_sum) {
    functions<T>().softmax(rows, columns, visible, s, ld, row_max, inverse_sum);
}

#define BRAID_INSTANTIATE(T)                                                                             \
    template void online_softmax_rows(int64_t, int64_t, const VisibleColumns*, T*, int64_t, T*, T*, T*); \
    template void softmax_rows(int64_t, int64_t, const VisibleColumns*, T*, int64_t, const T*, const T*);
BRAID_INSTANTIATE(float)
BRAID_INSTANTIATE(double)

} // namespace braid::ops::cpu
#endif

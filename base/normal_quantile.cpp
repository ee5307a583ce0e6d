#include "base/normal_quantile.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>

#include "base/highway_targets.h"
#include "base/normal_quantile_ratios.h"
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "base/normal_quantile.cpp"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace braid::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;
using F64 = hn::ScalableTag<double>;
using U64 = hn::ScalableTag<uint64_t>;
using V = hn::Vec<F64>;

constexpr size_t kBlock = 256;
constexpr uint64_t kRootOfTwo = 0x3ff6a09e667f3bcd; // the double's bits
constexpr double kLogOfTwo = 0.693147180559945309417;

// Products and sums apart, never in one rounding, so that all targets compute the same bits.
V polynomial(const quantile::Coefficients& c, V x) {
    const F64 d;
    V sum = hn::Set(d, c[7]);
    for (size_t i = 7; i-- > 0;) sum = hn::Add(hn::Mul(sum, x), hn::Set(d, c[i]));
    return sum;
}

V ratio(const quantile::Ratio& r, V x) {
    return hn::Div(polynomial(r.above, x), polynomial(r.below, x));
}

V middle_quantile(V p) {
    const F64 d;
    const V q = hn::Sub(p, hn::Set(d, 0.5)), r = hn::Sub(hn::Set(d, quantile::kMiddleSquared), hn::Mul(q, q));
    return hn::Mul(q, ratio(quantile::kMiddle, r));
}

/// -ln p for p <= 1: with p = m / 2^n and m around 1, n ln 2 - 2 artanh((m - 1) / (m + 1)).
V negative_log(V p) {
    const F64 d;
    const U64 u;
    const auto bits = hn::BitCast(u, p);
    const auto n = hn::ShiftRight<52>(hn::Sub(hn::Set(u, kRootOfTwo), bits));
    const V m = hn::BitCast(d, hn::Add(bits, hn::ShiftLeft<52>(n)));
    // A whole number below 2^52 as the last digits of 2^52 + n.
    const V whole = hn::Sub(hn::BitCast(d, hn::Or(n, hn::Set(u, uint64_t{0x433} << 52))), hn::Set(d, 0x1p52));
    const V one = hn::Set(d, 1.0), s = hn::Div(hn::Sub(m, one), hn::Add(m, one)), z = hn::Mul(s, s);
    // z is below 0.0295: the term left out is less than 1e-17 of a logarithm of the tails.
    V series = hn::Set(d, 1.0 / 21);
    for (int odd = 19; odd >= 1; odd -= 2) series = hn::Add(hn::Mul(series, z), hn::Set(d, 1.0 / odd));
    return hn::Sub(hn::Mul(whole, hn::Set(d, kLogOfTwo)), hn::Mul(hn::Add(s, s), series));
}

V tail_quantile(V p) {
    const F64 d;
    const V half = hn::Set(d, 0.5), five = hn::Set(d, 5.0);
    const auto lower = hn::Lt(p, half);
    const V r = hn::Sqrt(negative_log(hn::IfThenElse(lower, p, hn::Sub(hn::Set(d, 1.0), p))));
    V x = ratio(quantile::kTail, hn::Sub(r, hn::Set(d, 1.6)));
    const auto far = hn::Gt(r, five);
    if (!hn::AllFalse(d, far)) x = hn::IfThenElse(far, ratio(quantile::kFar, hn::Sub(r, five)), x);
    return hn::IfThenElse(lower, hn::Neg(x), x);
}

/// The middle's ratio for all; those of the tails, 15% where p is uniform, are gathered for theirs.
void quantiles_of_block(double* p, size_t count) {
    const F64 d;
    const size_t lanes = hn::Lanes(d);
    constexpr size_t kSpace = kBlock + HWY_MAX_BYTES / sizeof(double);
    HWY_ALIGN double values[kSpace], tails[kSpace];
    uint32_t places[kBlock];
    std::copy_n(p, count, values);
    std::fill_n(values + count, lanes, 0.5);
    size_t num_tails = 0;
    for (size_t i = 0; i < count; ++i) { // without a branch, which would be mispredicted
        places[num_tails] = static_cast<uint32_t>(i);
        num_tails += std::abs(p[i] - 0.5) > quantile::kHalfMiddle;
    }
    for (size_t i = 0; i < num_tails; ++i) tails[i] = p[places[i]];
    std::fill_n(tails + num_tails, lanes, 0.05);
    for (size_t at = 0; at < count; at += lanes)
        hn::Store(middle_quantile(hn::Load(d, values + at)), d, values + at);
    for (size_t at = 0; at < num_tails; at += lanes)
        hn::Store(tail_quantile(hn::Load(d, tails + at)), d, tails + at);
    std::copy_n(values, count, p);
    for (size_t i = 0; i < num_tails; ++i) p[places[i]] = tails[i];
}

void make_quantiles(double* p, size_t count) {
    for (size_t first = 0; first < count; first += kBlock)
        quantiles_of_block(p + first, std::min(kBlock, count - first));
}

} // namespace braid::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace braid {

HWY_EXPORT(make_quantiles);

double inverse_normal_cdf(double p) {
    HWY_DYNAMIC_DISPATCH(make_quantiles)(&p, 1);
    return p;
}

void inverse_normal_cdf(std::span<double> p) {
    HWY_DYNAMIC_DISPATCH(make_quantiles)(p.data(), p.size());
}

} // namespace braid
#endif

#include "ops/cpu/tile_gemm.h"

#include <algorithm>

#include "base/highway_targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/cpu/tile_gemm.cpp"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace braid::ops::cpu::HWY_NAMESPACE {
namespace {

namespace hn = hwy::HWY_NAMESPACE;

// The block of c that is held in registers: 6 x 4 accumulators of 32 registers, or 6 x 2 of 16, with room for
// one row of b and one element of a.
constexpr int kRows = 6;
constexpr int kVectors = HWY_TARGET == HWY_AVX2 ? 2 : 4;
// A panel of b, kDepth rows of kVectors vectors, takes at most 32 KiB of first level cache.
constexpr int64_t kDepth = 128;
// With fewer rows of c than this, copying a panel of b costs more than its scattered reads.
constexpr int64_t kMinRowsToPack = 16;

template <typename T>
struct Tile {
    int64_t m, k;
    const T* a;
    int64_t a_row, a_column;
    const T* b;
    int64_t ldb;
    T* c;
    int64_t ldc;
    bool accumulate;
};

/// kM rows by kN vectors of c; of the last vector only the first last_lanes elements if kPartial.
template <int kM, int kN, bool kPartial, typename T>
HWY_ATTR void block(const Tile<T>& t, size_t last_lanes) {
    const hn::ScalableTag<T> d;
    using V = hn::Vec<decltype(d)>;
    const size_t lanes = hn::Lanes(d);
    const auto mask = hn::FirstN(d, last_lanes);
    const auto load = [&](const T* from, int j) HWY_ATTR {
        return kPartial && j == kN - 1 ? hn::MaskedLoad(mask, d, from + j * lanes)
                                       : hn::LoadU(d, from + j * lanes);
    };
    V sum[kM][kN];
#pragma GCC unroll 8
    for (int i = 0; i < kM; ++i)
#pragma GCC unroll 8
        for (int j = 0; j < kN; ++j) sum[i][j] = t.accumulate ? load(t.c + i * t.ldc, j) : hn::Zero(d);
    const T* a = t.a;
    const T* b = t.b;
    for (int64_t p = 0; p < t.k; ++p, a += t.a_column, b += t.ldb) {
        V vb[kN];
#pragma GCC unroll 8
        for (int j = 0; j < kN; ++j) vb[j] = load(b, j);
#pragma GCC unroll 8
        for (int i = 0; i < kM; ++i) {
            const V va = hn::Set(d, a[i * t.a_row]);
#pragma GCC unroll 8
            for (int j = 0; j < kN; ++j) sum[i][j] = hn::MulAdd(va, vb[j], sum[i][j]);
        }
    }
#pragma GCC unroll 8
    for (int i = 0; i < kM; ++i)
#pragma GCC unroll 8
        for (int j = 0; j < kN; ++j) {
            T* c = t.c + i * t.ldc + j * lanes;
            if (kPartial && j == kN - 1)
                hn::BlendedStore(sum[i][j], mask, d, c);
            else
                hn::StoreU(sum[i][j], d, c);
        }
}

/// All rows of kN vectors of c.
template <int kN, bool kPartial, typename T>
HWY_ATTR void panel(Tile<T> t, size_t last_lanes) {
    const auto step = [&t](int64_t rows) {
        t.a += rows * t.a_row;
        t.c += rows * t.ldc;
        t.m -= rows;
    };
    for (; t.m >= kRows; step(kRows)) block<kRows, kN, kPartial>(t, last_lanes);
    for (; t.m >= 2; step(2)) block<2, kN, kPartial>(t, last_lanes);
    if (t.m > 0) block<1, kN, kPartial>(t, last_lanes);
}

/// The first n columns of c, at most kN vectors.
template <int kN, typename T>
HWY_ATTR void narrow_panel(const Tile<T>& t, int64_t n) {
    const int64_t lanes = static_cast<int64_t>(hn::Lanes(hn::ScalableTag<T>()));
    if constexpr (kN > 1)
        if (n <= (kN - 1) * lanes) return narrow_panel<kN - 1>(t, n);
    const int64_t last_lanes = n - (kN - 1) * lanes;
    if (last_lanes < lanes)
        panel<kN, true>(t, static_cast<size_t>(last_lanes));
    else
        panel<kN, false>(t, static_cast<size_t>(lanes));
}

template <typename T>
HWY_ATTR void gemm(int64_t n, const Tile<T>& whole) {
    constexpr int64_t kWidth = kVectors * static_cast<int64_t>(HWY_LANES(T));
    HWY_ALIGN T packed[kDepth * kWidth];
    for (int64_t j = 0; j < n; j += kWidth) {
        const int64_t width = std::min(kWidth, n - j);
        for (int64_t p = 0; p < std::max<int64_t>(whole.k, 1); p += kDepth) {
            Tile<T> t = whole;
            t.k = std::min(kDepth, whole.k - p);
            t.a += p * t.a_column;
            t.b += p * t.ldb + j;
            t.c += j;
            t.accumulate = whole.accumulate || p > 0;
            if (t.m >= kMinRowsToPack && t.ldb > kWidth) {
                for (int64_t r = 0; r < t.k; ++r) std::copy_n(t.b + r * t.ldb, width, packed + r * kWidth);
                t.b = packed;
                t.ldb = kWidth;
            }
            narrow_panel<kVectors>(t, width);
        }
    }
}

HWY_ATTR void run_f32(int64_t m, int64_t n, int64_t k, const float* a, int64_t a_row, int64_t a_column,
                      const float* b, int64_t ldb, float* c, int64_t ldc, bool accumulate) {
    gemm<float>(n, {m, k, a, a_row, a_column, b, ldb, c, ldc, accumulate});
}

HWY_ATTR void run_f64(int64_t m, int64_t n, int64_t k, const double* a, int64_t a_row, int64_t a_column,
                      const double* b, int64_t ldb, double* c, int64_t ldc, bool accumulate) {
    gemm<double>(n, {m, k, a, a_row, a_column, b, ldb, c, ldc, accumulate});
}

} // namespace
} // namespace braid::ops::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace braid::ops::cpu {

HWY_EXPORT(run_f32);
HWY_EXPORT(run_f64);

void tile_gemm(int64_t m, int64_t n, int64_t k, const float* a, int64_t a_row, int64_t a_column,
               const float* b, int64_t ldb, float* c, int64_t ldc, bool accumulate) {
    HWY_DYNAMIC_DISPATCH(run_f32)(m, n, k, a, a_row, a_column, b, ldb, c, ldc, accumulate);
}

void tile_gemm(int64_t m, int64_t n, int64_t k, const double* a, int64_t a_row, int64_t a_column,
               const double* b, int64_t ldb, double* c, int64_t ldc, bool accumulate) {
    HWY_DYNAMIC_DISPATCH(run_f64)(m, n, k, a, a_row, a_column, b, ldb, c, ldc, accumulate);
}

} // namespace braid::ops::cpu
#endif

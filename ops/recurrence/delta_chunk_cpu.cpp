#include "ops/recurrence/delta_chunk_cpu.h"

#include "base/highway_targets.h"
#include "ops/cpu/vector_math.h"
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/recurrence/delta_chunk_cpu.cpp"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace braid::ops::cpu::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

constexpr size_t kMaxLanes = kSide / 4; // panels of four vectors fit a row

/// Rows [i, i + kRows) of (I + a)^-1 in the columns [column, column + kVectors lanes): minus the sum of a_ij
/// times row j over the rows before, then the rows of the block from each other.
template <int kRows, int kVectors, typename T>
HWY_ATTR void invert_rows(int64_t i, int64_t column, const T* a, T* y) {
    const hn::CappedTag<T, kMaxLanes> d;
    using V = hn::Vec<decltype(d)>;
    const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
    V row[kRows][kVectors];
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r)
#pragma GCC unroll 8
        for (int v = 0; v < kVectors; ++v) row[r][v] = hn::Zero(d);
    for (int64_t j = column; j < i; ++j) {
        V solved[kVectors];
#pragma GCC unroll 8
        for (int v = 0; v < kVectors; ++v) solved[v] = hn::LoadU(d, y + j * kSide + column + v * lanes);
#pragma GCC unroll 8
        for (int r = 0; r < kRows; ++r) {
            const V factor = hn::Set(d, a[(i + r) * kSide + j]);
#pragma GCC unroll 8
            for (int v = 0; v < kVectors; ++v) row[r][v] = hn::NegMulAdd(factor, solved[v], row[r][v]);
        }
    }
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
        T* out = y + (i + r) * kSide + column;
#pragma GCC unroll 8
        for (int before = 0; before < r; ++before) {
            const V factor = hn::Set(d, a[(i + r) * kSide + i + before]);
#pragma GCC unroll 8
            for (int v = 0; v < kVectors; ++v) row[r][v] = hn::NegMulAdd(factor, row[before][v], row[r][v]);
        }
        // The unit column of the row's own diagonal joins once all before it has been summed.
#pragma GCC unroll 8
        for (int v = 0; v < kVectors; ++v) {
            const V is_diagonal = hn::IfThenElseZero(
                hn::Eq(hn::Iota(d, static_cast<T>(column + v * lanes)), hn::Set(d, static_cast<T>(i + r))),
                hn::Set(d, T(1)));
            row[r][v] = hn::Add(row[r][v], is_diagonal);
            hn::StoreU(row[r][v], d, out + v * lanes);
        }
    }
}

/// y: a scratch matrix whose rows beyond `length`, up to a multiple of four, may be written too; a likewise
/// may be read there.
template <typename T>
HWY_ATTR void invert(int64_t length, const T* a, T* y) {
    const int64_t lanes = static_cast<int64_t>(hn::Lanes(hn::CappedTag<T, kMaxLanes>()));
    constexpr int kRows = HWY_TARGET == HWY_AVX2 ? 2 : 4;
    for (int64_t column = 0; column < length; column += 4 * lanes) {
        const int64_t width = std::min(4 * lanes, kSide - column);
        for (int64_t i = 0; i < column; ++i) std::fill_n(y + i * kSide + column, width, T(0));
        for (int64_t i = column; i < length; i += kRows) invert_rows<kRows, 4>(i, column, a, y);
    }
}

HWY_ATTR void invert_f32(int64_t length, const float* a, float* y) {
    invert(length, a, y);
}
HWY_ATTR void invert_f64(int64_t length, const double* a, double* y) {
    invert(length, a, y);
}

} // namespace braid::ops::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace braid::ops::cpu {

HWY_EXPORT(invert_f32);
HWY_EXPORT(invert_f64);

template <typename T>
void ChunkDecay<T>::compute(int64_t length, const T* g, int64_t stride, bool with_matrix) {
    double sum[kSide];
    for (int64_t i = 0; i < length; ++i)
        sum[i] = (i ? sum[i - 1] : 0) + (g ? static_cast<double>(g[i * stride]) : 0);
    T exponents[2 * kSide] = {};
    for (int64_t i = 0; i < length; ++i) {
        exponents[i] = static_cast<T>(sum[i]);
        exponents[length + i] = static_cast<T>(sum[length - 1] - sum[i]);
    }
    exp(exponents, exponents, 2 * length);
    std::copy_n(exponents, length, from_start);
    std::copy_n(exponents + length, length, to_end);
    total = from_start[length - 1];
    if (with_matrix)
        for (int64_t first = 0; first < length; first += kBand)
            compute_band(first, band_end(first, length), sum);
}

/// Rows [first, end). Only what lies on or left of the diagonal is ever an exponent: the rest could overflow.
/// Left of the band, e^{b_i - b_j} is e^{b_i - b_first} e^{b_first - b_j}: few exponentials, none above one.
template <typename T>
void ChunkDecay<T>::compute_band(int64_t first, int64_t end, const double* sum) {
    T exponents[kBand * kBand + kSide] = {};
    const int64_t rows = end - first;
    T *within = exponents, *before = exponents + rows * rows;
    for (int64_t i = 0; i < rows; ++i)
        for (int64_t j = 0; j < rows; ++j)
            within[i * rows + j] = static_cast<T>(sum[first + i] - sum[first + std::min(i, j)]);
    for (int64_t j = 0; j < first; ++j) before[j] = static_cast<T>(sum[first] - sum[j]);
    exp(exponents, exponents, rows * rows + first);
    for (int64_t i = 0; i < rows; ++i) {
        T* __restrict row = matrix + (first + i) * kSide;
        const T from_first = within[i * rows];
        for (int64_t j = 0; j < first; ++j) row[j] = from_first * before[j];
        for (int64_t j = 0; j < rows; ++j) row[first + j] = j <= i ? within[i * rows + j] : T(0);
    }
}

template struct ChunkDecay<float>;
template struct ChunkDecay<double>;

void invert_unit_lower(int64_t length, const float* a, float* y) {
    HWY_DYNAMIC_DISPATCH(invert_f32)(length, a, y);
}
void invert_unit_lower(int64_t length, const double* a, double* y) {
    HWY_DYNAMIC_DISPATCH(invert_f64)(length, a, y);
}

} // namespace braid::ops::cpu
#endif

#pragma once

#include <cblas.h>

#include <algorithm>
#include <cstdint>

#include "ops/cpu/tile_gemm.h"
#include "ops/recurrence/chunk_plan.h"

// The matrix algebra of one chunk of the delta rule: L <= kSide rows, one thread. Square scratch matrices
// have rows kSide apart. Lower triangular ones are worked on in bands of kBand rows: within a band, columns
// up to the band's last row count, and those right of the diagonal hold zeros.
namespace braid::ops::cpu {

constexpr int64_t kSide = ChunkPlan::kChunkLength;
// A multiple of the rows that tile_gemm holds in registers; 12 saves another ninth of the operations and is
// slower.
constexpr int64_t kBand = 24;

/// One past the last column that row i of a lower triangular [L, L] matrix has.
inline int64_t band_end(int64_t i, int64_t length) {
    return std::min(length, (i / kBand + 1) * kBand);
}

/// c [m, n] (+)= a [m, k] b [k, n].
template <typename T>
void multiply(int64_t m, int64_t n, int64_t k, const T* a, int64_t lda, const T* b, int64_t ldb, T* c,
              int64_t ldc, bool accumulate) {
    tile_gemm(m, n, k, a, lda, 1, b, ldb, c, ldc, accumulate);
}

/// c [m, n] (+)= aᵀ b with a [k, m], b [k, n].
template <typename T>
void multiply_transposed(int64_t m, int64_t n, int64_t k, const T* a, int64_t lda, const T* b, int64_t ldb,
                         T* c, int64_t ldc, bool accumulate) {
    tile_gemm(m, n, k, a, 1, lda, b, ldb, c, ldc, accumulate);
}

/// The bands of c [L, L] = a b with a [L, k], b [k, L].
template <typename T>
void multiply_to_lower(int64_t length, int64_t k, const T* a, int64_t lda, const T* b, int64_t ldb, T* c) {
    for (int64_t i = 0; i < length; i += kBand) {
        const int64_t end = band_end(i, length);
        multiply(end - i, end, k, a + i * lda, lda, b, ldb, c + i * kSide, kSide, false);
    }
}

/// c [L, n] (+)= a b with a lower triangular [L, L], b [L, n].
template <typename T>
void multiply_lower(int64_t length, int64_t n, const T* a, int64_t lda, const T* b, int64_t ldb, T* c,
                    int64_t ldc, bool accumulate) {
    for (int64_t i = 0; i < length; i += kBand) {
        const int64_t end = band_end(i, length);
        multiply(end - i, n, end, a + i * lda, lda, b, ldb, c + i * ldc, ldc, accumulate);
    }
}

/// c [L, n] (+)= aᵀ b with a lower triangular [L, L], b [L, n].
template <typename T>
void multiply_lower_transposed(int64_t length, int64_t n, const T* a, int64_t lda, const T* b, int64_t ldb,
                               T* c, int64_t ldc, bool accumulate) {
    for (int64_t i = 0; i < length; i += kBand)
        multiply_transposed(band_end(i, length) - i, n, length - i, a + i * lda + i, lda, b + i * ldb, ldb,
                            c + i * ldc, ldc, accumulate);
}

/// Floating-point operations of any of the three functions above, n being the free dimension.
inline double lower_flops(int64_t length, int64_t n) {
    double products = 0;
    for (int64_t i = 0; i < length; i += kBand)
        products += static_cast<double>((band_end(i, length) - i) * band_end(i, length));
    return 2 * products * static_cast<double>(n);
}

/// y [d, L] = xᵀ with x [L, d].
inline void transpose(int64_t length, int64_t d, const float* x, int64_t ldx, float* y, int64_t ldy) {
    cblas_somatcopy(CblasRowMajor, CblasTrans, static_cast<blasint>(length), static_cast<blasint>(d), 1.0F, x,
                    static_cast<blasint>(ldx), y, static_cast<blasint>(ldy));
}
inline void transpose(int64_t length, int64_t d, const double* x, int64_t ldx, double* y, int64_t ldy) {
    cblas_domatcopy(CblasRowMajor, CblasTrans, static_cast<blasint>(length), static_cast<blasint>(d), 1.0, x,
                    static_cast<blasint>(ldx), y, static_cast<blasint>(ldy));
}

/// y [L, d] packed = x [L, d].
template <typename T>
void pack_rows(int64_t length, int64_t d, const T* x, int64_t ldx, T* y) {
    for (int64_t i = 0; i < length; ++i) std::copy_n(x + i * ldx, d, y + i * d);
}

/// y [rows, columns] = x.
template <typename T>
void copy_matrix(int64_t rows, int64_t columns, const T* x, int64_t ldx, T* y, int64_t ldy) {
    for (int64_t i = 0; i < rows; ++i) std::copy_n(x + i * ldx, columns, y + i * ldy);
}

/// y_i = factor_i x_i, for each row.
template <typename T>
void scale_rows(int64_t length, int64_t d, const T* factor, const T* __restrict x, int64_t ldx,
                T* __restrict y, int64_t ldy) {
    for (int64_t i = 0; i < length; ++i) {
        const T f = factor[i];
        for (int64_t j = 0; j < d; ++j) y[i * ldy + j] = f * x[i * ldx + j];
    }
}

/// y_ij = factor_i x_ij d_ij in the bands of scratch matrices.
template <typename T>
void weigh_rows(int64_t length, const T* factor, const T* __restrict x, const T* __restrict d,
                T* __restrict y) {
    for (int64_t i = 0; i < length; ++i) {
        const T f = factor[i];
        for (int64_t j = 0; j < band_end(i, length); ++j)
            y[i * kSide + j] = f * x[i * kSide + j] * d[i * kSide + j];
    }
}

/// y_i += factor_i x_i, for each row.
template <typename T>
void add_scaled_rows(int64_t length, int64_t d, const T* factor, const T* __restrict x, int64_t ldx,
                     T* __restrict y, int64_t ldy) {
    for (int64_t i = 0; i < length; ++i) {
        const T f = factor[i];
        for (int64_t j = 0; j < d; ++j) y[i * ldy + j] += f * x[i * ldx + j];
    }
}

/// The decays of one chunk and head, from its log-decays g.
template <typename T>
struct ChunkDecay {
    T from_start[kSide];     // e^{b_i}, b the inclusive sum of g within the chunk
    T to_end[kSide];         // e^{b_L - b_i}
    T total;                 // e^{b_L}
    T matrix[kSide * kSide]; // bands of e^{b_i - b_j}, i >= j

    /// g: log-decay of row i at g[i * stride]; null for no decay. `with_matrix` fills `matrix` too. Sums of g
    /// are held in double, since e^{b_i - b_j} with neighbouring i, j is the difference of large numbers.
    void compute(int64_t length, const T* g, int64_t stride, bool with_matrix);

  private:
    void compute_band(int64_t first, int64_t end, const double* sum);
};

extern template struct ChunkDecay<float>;
extern template struct ChunkDecay<double>;

/// y = (I + a)^-1 by forward substitution, for scratch matrices. Of a only what lies left of the diagonal
/// counts; y gets zeros right of it. Rows from `length` to the next multiple of four may be written.
void invert_unit_lower(int64_t length, const float* a, float* y);
void invert_unit_lower(int64_t length, const double* a, double* y);

} // namespace braid::ops::cpu

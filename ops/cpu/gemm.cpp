#include "ops/cpu/gemm.h"

#include <cblas.h>

#include <algorithm>
#include <limits>
#if !BRAID_OPENMP
#include <mutex>
#endif

#include "base/error.h"
#include "ops/cpu/one_thread.h"

namespace braid::ops::cpu {
namespace {

#if !BRAID_OPENMP
// A build without OpenMP links the serial OpenBLAS, which hands out its work buffers without a lock, and
// ranks may be threads.
std::mutex serial_blas;
#endif

void call_blas(CBLAS_TRANSPOSE ta, CBLAS_TRANSPOSE tb, blasint m, blasint n, blasint k, float alpha,
               const float* a, blasint lda, const float* b, blasint ldb, float beta, float* c, blasint ldc) {
    cblas_sgemm(CblasRowMajor, ta, tb, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc);
}

void call_blas(CBLAS_TRANSPOSE ta, CBLAS_TRANSPOSE tb, blasint m, blasint n, blasint k, double alpha,
               const double* a, blasint lda, const double* b, blasint ldb, double beta, double* c,
               blasint ldc) {
    cblas_dgemm(CblasRowMajor, ta, tb, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc);
}

blasint narrow(int64_t value) {
    check(value >= 0 && value <= std::numeric_limits<blasint>::max(), "gemm: a size of {} is out of range",
          value);
    return static_cast<blasint>(value);
}

template <typename T>
void scale_rows(int64_t m, int64_t n, T beta, T* c, int64_t ldc) {
    if (beta == T(1)) return;
    for (int64_t i = 0; i < m; ++i)
        for (int64_t j = 0; j < n; ++j) c[i * ldc + j] = beta == T(0) ? T(0) : beta * c[i * ldc + j];
}

/// How C is cut. Each tile packs its rows of A and columns of B anew, so tiles stay near 512 x 512, where
/// that is a small part of the work; less only to have four of them to share.
struct Tiling {
    int64_t rows, columns;

    Tiling(int64_t m, int64_t n, int64_t k) : rows(m), columns(n) {
        constexpr int64_t kTileElements = 512 * 512, kMinSide = 32, kMinWork = int64_t{1} << 20;
        while (rows * columns > kTileElements || tiles(m, n) < 4) {
            int64_t& longer = rows >= columns ? rows : columns;
            if (longer < 2 * kMinSide || rows * columns * k < 2 * kMinWork) break;
            longer = (longer / 2 + kMinSide - 1) / kMinSide * kMinSide;
        }
    }
    int64_t row_tiles(int64_t m) const { return (m + rows - 1) / rows; }
    int64_t column_tiles(int64_t n) const { return (n + columns - 1) / columns; }
    int64_t tiles(int64_t m, int64_t n) const { return row_tiles(m) * column_tiles(n); }
};

} // namespace

template <typename T>
void gemm(bool transpose_a, bool transpose_b, int64_t m, int64_t n, int64_t k, T alpha, const T* a,
          int64_t lda, const T* b, int64_t ldb, T beta, T* c, int64_t ldc) {
    if (m == 0 || n == 0) return;
    if (k == 0) return scale_rows(m, n, beta, c, ldc);
    const CBLAS_TRANSPOSE ta = transpose_a ? CblasTrans : CblasNoTrans;
    const CBLAS_TRANSPOSE tb = transpose_b ? CblasTrans : CblasNoTrans;
    narrow(m), narrow(n);
    const blasint depth = narrow(k), stride_a = narrow(lda), stride_b = narrow(ldb), stride_c = narrow(ldc);
    const Tiling tiling(m, n, k);
    const int64_t rows = tiling.rows, columns = tiling.columns;
    const int64_t across = tiling.column_tiles(n), tiles = tiling.tiles(m, n);
    const auto run_tile = [&](int64_t tile) {
#if !BRAID_OPENMP
        const std::lock_guard lock(serial_blas);
#endif
        const OneThread one;
        const int64_t i = tile / across * rows, j = tile % across * columns;
        call_blas(ta, tb, static_cast<blasint>(std::min(rows, m - i)),
                  static_cast<blasint>(std::min(columns, n - j)), depth, alpha,
                  a + (transpose_a ? i : i * lda), stride_a, b + (transpose_b ? j * ldb : j), stride_b, beta,
                  c + i * ldc + j, stride_c);
    };
#pragma omp parallel for schedule(dynamic) if (tiles > 1)
    for (int64_t tile = 0; tile < tiles; ++tile) run_tile(tile);
}

template void gemm(bool, bool, int64_t, int64_t, int64_t, float, const float*, int64_t, const float*, int64_t,
                   float, float*, int64_t);
template void gemm(bool, bool, int64_t, int64_t, int64_t, double, const double*, int64_t, const double*,
                   int64_t, double, double*, int64_t);

std::string blas_description() {
    return openblas_get_config();
}

std::string blas_kernels() {
    return openblas_get_corename();
}

} // namespace braid::ops::cpu

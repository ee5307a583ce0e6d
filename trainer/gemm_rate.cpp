#include "trainer/gemm_rate.h"

#include <cblas.h>

#include <algorithm>
#include <chrono>
#include <vector>

namespace braid {
namespace {

void multiply(int n, const std::vector<float>& a, const std::vector<float>& b, std::vector<float>& c) {
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, n, n, n, 1, a.data(), n, b.data(), n, 0, c.data(),
                n);
}

void multiply(int n, const std::vector<double>& a, const std::vector<double>& b, std::vector<double>& c) {
    cblas_dgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, n, n, n, 1, a.data(), n, b.data(), n, 0, c.data(),
                n);
}

} // namespace

double measure_gemm_rate(DType dtype) {
    return dispatch_float(accumulation_dtype(dtype), []<typename T>() {
        using Clock = std::chrono::steady_clock;
        constexpr int kSize = 1024, kRepetitions = 5;
        const std::vector<T> a(kSize * kSize, T(0.5)), b(kSize * kSize, T(0.25));
        std::vector<T> c(kSize * kSize);
        double best = 0;
        for (int i = 0; i < kRepetitions; ++i) { // the first one also wakes the threads
            const auto start = Clock::now();
            multiply(kSize, a, b, c);
            const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
            best = std::max(best, 2.0 * kSize * kSize * kSize / seconds);
        }
        return best;
    });
}

} // namespace braid

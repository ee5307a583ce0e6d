#include "trainer/gemm_rate.h"

#include <cblas.h>

#include <algorithm>
#include <chrono>
#include <span>
#include <vector>

#include "ops/cpu/bf16_gemm.h"

namespace braid {
namespace {

constexpr int64_t kSize = 1024;

void multiply(int n, const std::vector<float>& a, const std::vector<float>& b, std::vector<float>& c) {
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, n, n, n, 1, a.data(), n, b.data(), n, 0, c.data(),
                n);
}

void multiply(int n, const std::vector<double>& a, const std::vector<double>& b, std::vector<double>& c) {
    cblas_dgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, n, n, n, 1, a.data(), n, b.data(), n, 0, c.data(),
                n);
}

/// The best rate of some calls of multiply_once(), each of 2 kSize³ operations.
template <typename Multiply>
double best_rate(const Multiply& multiply_once) {
    using Clock = std::chrono::steady_clock;
    constexpr int kRepetitions = 5;
    double best = 0;
    for (int i = 0; i < kRepetitions; ++i) { // the first one also wakes the threads
        const auto start = Clock::now();
        multiply_once();
        const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
        best = std::max(best, 2.0 * kSize * kSize * kSize / seconds);
    }
    return best;
}

double onednn_rate() {
    Allocator allocator;
    const Tensor a = Tensor::zeros(allocator, {kSize, kSize}, DType::bf16);
    const Tensor c = Tensor::empty(allocator, {kSize, kSize}, DType::bf16);
    const ops::cpu::PackedMatrix b(allocator, false, kSize, kSize, a.data<bf16>(), kSize);
    const int64_t offsets[] = {0, kSize};
    return best_rate([&] { ops::cpu::multiply(a, std::span(&b, 1), offsets, c); });
}

} // namespace

double measure_gemm_rate(DType precision) {
    if (precision == DType::bf16 && ops::cpu::bf16_gemm() == ops::cpu::Bf16Gemm::onednn) return onednn_rate();
    return dispatch_float(accumulation_dtype(precision), []<typename T>() {
        const std::vector<T> a(kSize * kSize, T(0.5)), b(kSize * kSize, T(0.25));
        std::vector<T> c(kSize * kSize);
        return best_rate([&] { multiply(kSize, a, b, c); });
    });
}

} // namespace braid

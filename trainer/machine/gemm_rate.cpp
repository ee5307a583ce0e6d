#include "trainer/machine/gemm_rate.h"

#include <cblas.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <map>
#include <mutex>
#include <random>
#include <span>
#include <utility>
#include <vector>

#include "ops/cpu/bf16_gemm.h"
#include "ops/cuda/gemm.h"
#include "tensor/cuda/runtime.h"
#include "tensor/memory/build_cuda.h"

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
    return best_rate([&] { ops::cpu::multiply_packed(a, std::span(&b, 1), offsets, c); });
}

/// Values of either sign from 1/2 to 1 with random digits: a GPU multiplies equal numbers with less power,
/// and so faster, than those of a model.
void fill_random(const Tensor& x) {
    std::mt19937_64 random(1);
    std::vector<std::byte> block(std::min(x.bytes(), size_t{1} << 20));
    const size_t width = size_of(x.dtype());
    const int shift = 64 - 8 * static_cast<int>(width);
    const uint64_t digits = x.dtype() == DType::f64   ? 0x800F'FFFF'FFFF'FFFF
                            : x.dtype() == DType::f32 ? 0x807F'FFFF
                                                      : 0x807F;
    const uint64_t half = x.dtype() == DType::f64   ? 0x3FE0'0000'0000'0000
                          : x.dtype() == DType::f32 ? 0x3F00'0000
                                                    : 0x3F00;
    for (size_t i = 0; i < block.size(); i += width) {
        const uint64_t bits = ((random() >> shift) & digits) | half;
        std::memcpy(block.data() + i, &bits, width); // little-endian, as all that CUDA runs on
    }
    const Stream& stream = x.allocator().stream();
    for (size_t i = 0; i < x.bytes(); i += block.size())
        cuda::copy(static_cast<std::byte*>(x.raw_data()) + i, block.data(),
                   std::min(block.size(), x.bytes() - i), stream.native());
    stream.synchronize();
}

/// Of products of [n, n] matrices: the best rate of some runs of several products each, and the seconds of
/// one.
struct GpuRate {
    double rate, seconds;
};

GpuRate cublaslt_rate(DType dtype, const Stream& compute, int64_t n, int runs, int products) {
    using Clock = std::chrono::steady_clock;
    Allocator allocator(compute);
    const Tensor a = Tensor::empty(allocator, {n, n}, dtype), b = Tensor::empty(allocator, {n, n}, dtype),
                 c = Tensor::empty(allocator, {n, n}, dtype);
    fill_random(a);
    fill_random(b);
    const auto multiply_once = [&] { // y = x W^T, as a linear layer
        ops::cuda::gemm(c, false, true, 1, ops::cuda::matrix_of(a), ops::cuda::matrix_of(b), 0,
                        ops::cuda::matrix_of(c));
    };
    multiply_once(); // warms up: the library chooses its algorithm and loads it
    compute.synchronize();
    double best = 1e300;
    for (int run = 0; run < runs; ++run) {
        const auto start = Clock::now();
        for (int i = 0; i < products; ++i) multiply_once();
        compute.synchronize();
        best = std::min(best, std::chrono::duration<double>(Clock::now() - start).count() / products);
    }
    const double size = static_cast<double>(n);
    return {2 * size * size * size / best, best};
}

/// Matrices grow until a product is long beside its launch, or would take an eighth of the free memory.
double gpu_rate(DType dtype, const Stream& compute) {
    constexpr int64_t kLargest = 8192;
    constexpr double kLong = 1e-3; // seconds
    const size_t most = cuda::device_info(compute.device().index).free_bytes / 8;
    int64_t n = 64;
    while (n < kLargest && 3 * size_of(dtype) * static_cast<size_t>(4 * n * n) <= most &&
           cublaslt_rate(dtype, compute, n, 1, 1).seconds < kLong)
        n *= 2;
    return cublaslt_rate(dtype, compute, n, 3, n < 1024 ? 2 : 10).rate;
}

} // namespace

double measure_gemm_rate(DType precision, const Stream& compute) {
    if constexpr (kBuildCuda)
        if (compute.device().kind == DeviceKind::cuda) return gpu_rate(precision, compute);
    if (precision == DType::bf16 && ops::cpu::bf16_gemm() == ops::cpu::Bf16Gemm::onednn) return onednn_rate();
    return dispatch_float(accumulation_dtype(precision), []<typename T>() {
        const std::vector<T> a(kSize * kSize, T(0.5)), b(kSize * kSize, T(0.25));
        std::vector<T> c(kSize * kSize);
        return best_rate([&] { multiply(kSize, a, b, c); });
    });
}

double gemm_rate(DType dtype, const Stream& compute) {
    static std::mutex mutex; // ranks may be threads
    static std::map<std::pair<DType, Device>, double> rates;
    const std::lock_guard lock(mutex);
    const auto [rate, is_new] = rates.try_emplace({dtype, compute.device()});
    if (is_new) rate->second = measure_gemm_rate(dtype, compute);
    return rate->second;
}

} // namespace braid

// Matrix products as operations call them, against the BLAS library with threads of its own in the same
// process: what ops::cpu::gemm pays for bits that do not depend on the number of threads.
//
//     bench_gemm [repetitions]                    OPENBLAS_CORETYPE picks other kernels of OpenBLAS
//
// Prints, per product, microseconds of either and the ratio of rates (above 1: ours is faster). The two take
// turns; medians are compared.

#include <cblas.h>
#include <fmt/core.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <vector>

#include "ops/cpu/gemm.h"
#include "ops/cpu/parallel.h"

namespace {

using namespace braid;
using Clock = std::chrono::steady_clock;

struct Product {
    const char* what;
    bool transpose_a, transpose_b;
    int m, n, k;
};

constexpr Product kProducts[] = {
    {"forward, tiny", false, true, 16, 64, 64},
    {"forward, one token", false, true, 1, 512, 512},
    {"forward, small", false, true, 128, 192, 192},
    {"input gradient, small", false, false, 128, 192, 192},
    {"weight gradient, small", true, false, 192, 192, 128},
    {"router", false, true, 2048, 16, 192},
    {"router's weight gradient", true, false, 16, 192, 2048},
    {"head, small", false, true, 256, 256, 192},
    {"narrow", false, true, 2048, 64, 64},
    {"narrow, weight gradient", true, false, 64, 64, 2048},
    {"forward, middle", false, true, 512, 384, 192},
    {"weight gradient, middle", true, false, 384, 192, 512},
    {"forward, large", false, true, 4096, 1536, 512},
    {"input gradient, large", false, false, 4096, 512, 1536},
    {"weight gradient, large", true, false, 1536, 512, 4096},
    {"square", false, false, 1024, 1024, 1024},
};

void multiply(CBLAS_TRANSPOSE ta, CBLAS_TRANSPOSE tb, const Product& p, const float* a, int lda,
              const float* b, int ldb, float* c) {
    cblas_sgemm(CblasRowMajor, ta, tb, p.m, p.n, p.k, 1, a, lda, b, ldb, 0, c, p.n);
}
void multiply(CBLAS_TRANSPOSE ta, CBLAS_TRANSPOSE tb, const Product& p, const double* a, int lda,
              const double* b, int ldb, double* c) {
    cblas_dgemm(CblasRowMajor, ta, tb, p.m, p.n, p.k, 1, a, lda, b, ldb, 0, c, p.n);
}

template <typename Call>
double seconds_per_call(const Call& call, int calls) {
    const auto start = Clock::now();
    for (int i = 0; i < calls; ++i) call();
    return std::chrono::duration<double>(Clock::now() - start).count() / calls;
}

double median(std::vector<double> values) {
    std::sort(values.begin(), values.end());
    return values[values.size() / 2];
}

/// Ratio of rates, ours over the library's.
template <typename T>
double compare(const Product& p, int repetitions) {
    const int lda = p.transpose_a ? p.m : p.k, ldb = p.transpose_b ? p.k : p.n;
    const std::vector<T> a(static_cast<size_t>(p.m) * static_cast<size_t>(p.k), T(0.5)),
        b(static_cast<size_t>(p.k) * static_cast<size_t>(p.n), T(0.25));
    std::vector<T> c(static_cast<size_t>(p.m) * static_cast<size_t>(p.n));
    const auto ours = [&] {
        ops::cpu::gemm<T>(p.transpose_a, p.transpose_b, p.m, p.n, p.k, T(1), a.data(), lda, b.data(), ldb,
                          T(0), c.data(), p.n);
    };
    const auto library = [&] {
        multiply(p.transpose_a ? CblasTrans : CblasNoTrans, p.transpose_b ? CblasTrans : CblasNoTrans, p,
                 a.data(), lda, b.data(), ldb, c.data());
    };
    const double once = std::min(seconds_per_call(ours, 2), seconds_per_call(library, 2));
    const int calls = std::clamp(static_cast<int>(2e-3 / once), 1, 1000);
    std::vector<double> of_ours, of_library;
    for (int i = 0; i < repetitions; ++i) {
        of_ours.push_back(seconds_per_call(ours, calls));
        of_library.push_back(seconds_per_call(library, calls));
    }
    const double ratio = median(of_library) / median(of_ours);
    fmt::print("{:4} {:26} {:5} x {:5} x {:5}  ours {:9.1f} us  library {:9.1f} us  ratio {:.2f}\n",
               sizeof(T) == 4 ? "f32" : "f64", p.what, p.m, p.n, p.k, median(of_ours) * 1e6,
               median(of_library) * 1e6, ratio);
    return ratio;
}

} // namespace

int main(int argc, char** argv) {
    const int repetitions = argc > 1 ? std::max(1, std::atoi(argv[1])) : 15;
    fmt::print("{}, {} threads\n", ops::cpu::blas_description(), ops::cpu::num_threads());
    double worst = 1e300, logs = 0;
    for (const Product& product : kProducts)
        for (const double ratio :
             {compare<float>(product, repetitions), compare<double>(product, repetitions)}) {
            worst = std::min(worst, ratio);
            logs += std::log(ratio);
        }
    fmt::print("ratio of rates, ours over the library's: worst {:.2f}, geometric mean {:.2f}\n", worst,
               std::exp(logs / (2 * std::size(kProducts))));
    return 0;
}

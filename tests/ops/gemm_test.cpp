#include "ops/cpu/gemm.h"

#include <gmock/gmock.h>

#include <cmath>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <thread>

#include "ops/cpu/blas_check.h"
#include "tests/support/testing_context.h"
#if BRAID_OPENMP
#include <omp.h>
#endif

namespace braid::testing {
namespace {

struct Case {
    int64_t m, n, k;
};

template <typename T>
std::vector<T> numbers(int64_t count, std::string_view name) {
    const RngStream stream(1234, RngPurpose::test, name);
    std::vector<T> values(static_cast<size_t>(count));
    for (size_t i = 0; i < values.size(); ++i) values[i] = static_cast<T>(stream.normal(i));
    return values;
}

template <typename T>
void expect_product(const Case& size, bool ta, bool tb, T alpha, T beta) {
    SCOPED_TRACE(
        fmt::format("m {} n {} k {} transposed {} {} beta {}", size.m, size.n, size.k, ta, tb, beta));
    const auto [m, n, k] = size;
    const int64_t lda = (ta ? m : k) + 3, ldb = (tb ? k : n) + 1, ldc = n + 2;
    const auto a = numbers<T>((ta ? k : m) * lda, "a"), b = numbers<T>((tb ? n : k) * ldb, "b");
    const auto before = numbers<T>(m * ldc, "c");
    auto c = before;
    if (beta == 0)
        for (auto& x : c) x = std::numeric_limits<T>::quiet_NaN(); // must not be read
    const auto untouched = c;
    ops::cpu::gemm<T>(ta, tb, m, n, k, alpha, a.data(), lda, b.data(), ldb, beta, c.data(), ldc);
    for (int64_t i = 0; i < m; ++i) {
        for (int64_t j = 0; j < n; ++j) {
            double sum = 0, size_of_terms = 1;
            for (int64_t l = 0; l < k; ++l) {
                const double term =
                    static_cast<double>(a[static_cast<size_t>(ta ? l * lda + i : i * lda + l)]) *
                    static_cast<double>(b[static_cast<size_t>(tb ? j * ldb + l : l * ldb + j)]);
                sum += term;
                size_of_terms += std::abs(term);
            }
            const size_t at = static_cast<size_t>(i * ldc + j);
            const double expected =
                static_cast<double>(alpha) * sum +
                (beta == 0 ? 0.0 : static_cast<double>(beta) * static_cast<double>(before[at]));
            // k roundings of partial sums no larger than the sum of |terms|, and a few for alpha and beta
            const double bound =
                static_cast<double>(k + 4) * std::numeric_limits<T>::epsilon() * size_of_terms;
            ASSERT_NEAR(static_cast<double>(c[at]), expected, bound) << "element " << i << ", " << j;
        }
        for (int64_t j = n; j < ldc; ++j) {
            const size_t at = static_cast<size_t>(i * ldc + j);
            ASSERT_EQ(std::memcmp(&c[at], &untouched[at], sizeof(T)), 0) << "wrote beyond row " << i;
        }
    }
}

TEST(gemm, all_transpositions_and_edge_sizes) {
    for (const Case& size :
         {Case{1, 1, 1}, {1, 7, 5}, {7, 1, 5}, {3, 5, 0}, {0, 4, 3}, {33, 17, 65}, {130, 70, 9}})
        for (const bool ta : {false, true})
            for (const bool tb : {false, true}) {
                expect_product<double>(size, ta, tb, 1.5, 0);
                expect_product<float>(size, ta, tb, 1, 1);
                expect_product<double>(size, ta, tb, 1, -0.5);
            }
}

TEST(gemm, tiled_sizes) {
    expect_product<float>({300, 520, 130}, false, true, 1, 0);
    expect_product<double>({600, 200, 150}, true, false, 1, 1);
    expect_product<float>({260, 1100, 70}, false, false, 1, 1);
}

TEST(gemm, ranks_may_be_threads) {
    const int64_t m = 150, n = 140, k = 130;
    const auto a = numbers<double>(m * k, "a"), b = numbers<double>(n * k, "b");
    const auto run = [&](std::vector<double>& c) {
        for (int repeat = 0; repeat < 20; ++repeat)
            ops::cpu::gemm<double>(false, true, m, n, k, 1, a.data(), k, b.data(), k, 0, c.data(), n);
    };
    std::vector<std::vector<double>> results(4, std::vector<double>(static_cast<size_t>(m * n)));
    std::vector<double> alone(static_cast<size_t>(m * n));
    run(alone);
    std::vector<std::thread> ranks;
    for (auto& c : results) ranks.emplace_back([&run, &c] { run(c); });
    for (auto& rank : ranks) rank.join();
    for (const auto& c : results) EXPECT_EQ(c, alone);
}

TEST(gemm, runs_the_kernels_asked_for) {
    const char* asked = std::getenv("OPENBLAS_CORETYPE");
    EXPECT_THAT(ops::cpu::blas_description(), ::testing::HasSubstr(asked ? asked : "OpenBLAS"));
}

TEST(gemm, the_library_multiplies_rightly_on_this_processor) {
    EXPECT_NO_THROW(ops::cpu::check_blas());
}

#if BRAID_OPENMP
TEST(gemm, bits_do_not_depend_on_threads) {
    const int threads = omp_get_max_threads();
    // Of one tile and of several; 70 x 257 x 300 is one that OpenBLAS would share out among its own threads.
    for (const Case& size : {Case{600, 520, 300},
                             {1024, 33, 700},
                             {70, 900, 600},
                             {70, 257, 300},
                             {300, 70, 33},
                             {257, 70, 70},
                             {64, 64, 64},
                             {1, 300, 400},
                             {300, 1, 400}}) {
        SCOPED_TRACE(fmt::format("m {} n {} k {}", size.m, size.n, size.k));
        const auto [m, n, k] = size;
        const auto a = numbers<float>(m * k, "a"), b = numbers<float>(n * k, "b");
        std::vector<float> c[4];
        for (auto& x : c) x.resize(static_cast<size_t>(m * n));
        const auto run = [&](std::vector<float>& y) {
            ops::cpu::gemm<float>(false, true, m, n, k, 1, a.data(), k, b.data(), k, 0, y.data(), n);
        };
        omp_set_num_threads(1);
        run(c[0]);
        omp_set_num_threads(3);
        run(c[1]);
#pragma omp parallel num_threads(2)
        if (omp_get_thread_num() == 1) run(c[2]);
            // A region of one thread is none to OpenBLAS.
#pragma omp parallel num_threads(1)
        run(c[3]);
        EXPECT_EQ(c[0], c[1]);
        EXPECT_EQ(c[0], c[2]);
        EXPECT_EQ(c[0], c[3]);
        EXPECT_EQ(omp_get_max_threads(), 3);
    }
    omp_set_num_threads(threads);
}
#endif

} // namespace
} // namespace braid::testing

#include "ops/cpu/blas_check.h"

#include <cblas.h>
#include <signal.h>
#include <unistd.h>

#include <array>
#include <cmath>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include "base/error.h"
#include "ops/cpu/gemm.h"

namespace braid::ops::cpu {
namespace {

/// The library by name and version, and the kernels it has chosen.
std::string blas_and_kernels() {
    const std::string config = openblas_get_config();
    const size_t space = config.find(' ', config.find(' ') + 1);
    return fmt::format("{} with its kernels for {}", config.substr(0, space), blas_kernels());
}

constexpr const char* kRemedy =
    "the environment variable OPENBLAS_CORETYPE picks other kernels (try Haswell, Zen, SkylakeX, "
    "Sandybridge, Nehalem or Prescott, which runs on all), and a newer OpenBLAS may be right";

/// While it lives, a crash ends the process with a message and exit code 2.
class CrashReport {
  public:
    explicit CrashReport(const std::string& message) {
        size_ = std::min(message.size(), text_.size());
        std::memcpy(text_.data(), message.data(), size_);
        struct sigaction action = {};
        action.sa_handler = [](int) {
            // Only what a signal handler may call.
            [[maybe_unused]] const ssize_t written = write(STDERR_FILENO, text_.data(), size_);
            _exit(static_cast<int>(ExitCode::usage));
        };
        for (size_t i = 0; i < kSignals.size(); ++i) sigaction(kSignals[i], &action, &before_[i]);
    }
    ~CrashReport() {
        for (size_t i = 0; i < kSignals.size(); ++i) sigaction(kSignals[i], &before_[i], nullptr);
    }
    CrashReport(const CrashReport&) = delete;
    CrashReport& operator=(const CrashReport&) = delete;

  private:
    static constexpr std::array kSignals{SIGSEGV, SIGBUS, SIGILL, SIGFPE};
    static inline std::array<char, 1024> text_;
    static inline size_t size_;
    std::array<struct sigaction, kSignals.size()> before_;
};

/// A matrix of whole numbers from -8 to 8: their products and sums of fewer than 2^18 of them are exact in
/// f32 in any order, so that results are compared bit by bit.
std::vector<double> whole_numbers(int64_t count, uint64_t seed) {
    std::vector<double> values(static_cast<size_t>(count));
    for (double& value : values) {
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        value = static_cast<double>(seed >> 33) / 0x1p31 * 17 - 8.5;
        value = std::round(value);
    }
    return values;
}

struct Size {
    int64_t m, n, k;
};

/// x [rows, columns], as stored for a product that takes it transposed or not, with rows of `stride`.
template <typename T>
std::vector<T> stored(const std::vector<double>& x, int64_t rows, int64_t columns, bool transposed,
                      int64_t stride) {
    std::vector<T> memory(static_cast<size_t>((transposed ? columns : rows) * stride), T(99));
    for (int64_t i = 0; i < rows; ++i)
        for (int64_t j = 0; j < columns; ++j)
            memory[static_cast<size_t>(transposed ? j * stride + i : i * stride + j)] =
                static_cast<T>(x[static_cast<size_t>(i * columns + j)]);
    return memory;
}

/// a [m, k] times b [k, n], by plain loops.
std::vector<double> plain_product(const Size& size, const std::vector<double>& a,
                                  const std::vector<double>& b) {
    std::vector<double> c(static_cast<size_t>(size.m * size.n), 0.0);
    for (int64_t i = 0; i < size.m; ++i)
        for (int64_t l = 0; l < size.k; ++l) {
            const double factor = a[static_cast<size_t>(i * size.k + l)];
            const double* row = b.data() + l * size.n;
            double* sums = c.data() + i * size.n;
            for (int64_t j = 0; j < size.n; ++j) sums[j] += factor * row[j];
        }
    return c;
}

template <typename T>
void check_product(const Size& size, bool ta, bool tb, T beta, const std::vector<double>& a,
                   const std::vector<double>& b, const std::vector<double>& expected) {
    const auto [m, n, k] = size;
    const int64_t lda = (ta ? m : k) + 3, ldb = (tb ? k : n) + 1, ldc = n + 2;
    constexpr T kBefore = 5;
    // With beta 0 what was there must not be read.
    std::vector<T> c(static_cast<size_t>(m * ldc), beta == 0 ? std::numeric_limits<T>::quiet_NaN() : kBefore);
    gemm<T>(ta, tb, m, n, k, T(1), stored<T>(a, m, k, ta, lda).data(), lda,
            stored<T>(b, k, n, tb, ldb).data(), ldb, beta, c.data(), ldc);
    for (int64_t i = 0; i < m; ++i)
        for (int64_t j = 0; j < n; ++j) {
            const double right =
                expected[static_cast<size_t>(i * n + j)] + static_cast<double>(beta * kBefore);
            const double found = static_cast<double>(c[static_cast<size_t>(i * ldc + j)]);
            if (found != right)
                throw ConfigError(
                    "{} multiplies wrongly on this processor: {} product of [{}, {}]{} and [{}, {}]{}, "
                    "element ({}, {}): expected {}, found {}; {}",
                    blas_and_kernels(), sizeof(T) == 4 ? "f32" : "f64", m, k, ta ? " (transposed)" : "", k, n,
                    tb ? " (transposed)" : "", i, j, right, found, kRemedy);
        }
}

} // namespace

void check_blas() {
    const CrashReport report(fmt::format("braid: {} crashed in the first products on this processor; {}\n",
                                         blas_and_kernels(), kRemedy));
    // One element, odd sizes below and above a vector, and one beyond what libraries have special kernels
    // for.
    for (const Size& size : {Size{1, 1, 1}, {1, 7, 5}, {33, 17, 65}, {5, 300, 37}, {97, 131, 103}}) {
        const auto a = whole_numbers(size.m * size.k, 1), b = whole_numbers(size.k * size.n, 2);
        const auto expected = plain_product(size, a, b);
        for (const bool ta : {false, true})
            for (const bool tb : {false, true}) {
                check_product<float>(size, ta, tb, 0, a, b, expected);
                check_product<double>(size, ta, tb, 1, a, b, expected);
            }
    }
}

} // namespace braid::ops::cpu

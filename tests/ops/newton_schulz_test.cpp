#include "ops/update/newton_schulz.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "tests/support/op_case.h"

namespace braid::testing {
namespace {

using ops::NewtonSchulzStep;

/// Rows of orthonormal vectors [count, length], by Gram and Schmidt (twice, so that they are orthogonal to
/// rounding).
std::vector<std::vector<double>> orthonormal(Allocator& allocator, size_t count, size_t length,
                                             std::string_view name) {
    const auto numbers = to_vector(random_tensor(
        allocator, {static_cast<int64_t>(count), static_cast<int64_t>(length)}, DType::f64, name));
    std::vector<std::vector<double>> rows;
    for (size_t i = 0; i < count; ++i) {
        std::vector<double> row(numbers.begin() + static_cast<std::ptrdiff_t>(i * length),
                                numbers.begin() + static_cast<std::ptrdiff_t>((i + 1) * length));
        for (int pass = 0; pass < 2; ++pass) {
            for (const auto& other : rows) {
                double dot = 0;
                for (size_t j = 0; j < length; ++j) dot += row[j] * other[j];
                for (size_t j = 0; j < length; ++j) row[j] -= dot * other[j];
            }
            double squares = 0;
            for (double x : row) squares += x * x;
            for (double& x : row) x /= std::sqrt(squares);
        }
        rows.push_back(row);
    }
    return rows;
}

/// sum_k s_k u_k v_kᵀ.
Tensor from_singular_values(Allocator& allocator, int64_t rows, int64_t columns,
                            const std::vector<double>& s) {
    const auto u = orthonormal(allocator, s.size(), static_cast<size_t>(rows), "u"),
               v = orthonormal(allocator, s.size(), static_cast<size_t>(columns), "v");
    std::vector<double> values;
    for (size_t i = 0; i < static_cast<size_t>(rows); ++i)
        for (size_t j = 0; j < static_cast<size_t>(columns); ++j) {
            double sum = 0;
            for (size_t k = 0; k < s.size(); ++k) sum += s[k] * u[k][i] * v[k][j];
            values.push_back(sum);
        }
    return from_vector(allocator, {1, rows, columns}, DType::f64, values);
}

double after(double s, const std::vector<NewtonSchulzStep>& steps) {
    for (const NewtonSchulzStep& p : steps) s = p.a * s + p.b * s * s * s + p.c * std::pow(s, 5);
    return s;
}

/// Normalizes and iterates x, which lies on the host, where tests run; returns the norms.
std::vector<double> iterate(TestContext& t, const Tensor& x, const std::vector<NewtonSchulzStep>& steps) {
    TestContext tested(test_device());
    const Tensor there = to_device(*tested.ctx.allocator, x);
    const Tensor norms = ops::newton_schulz(*tested.ctx.allocator, there, steps);
    copy(there, x);
    return to_vector(to_device(t.allocator, norms));
}

std::vector<double> spread(size_t count) {
    std::vector<double> s;
    for (size_t k = 0; k < count; ++k) s.push_back(std::pow(10, -2.5 * static_cast<double>(k) / 8));
    return s;
}

TEST(newton_schulz, maps_singular_values_and_keeps_singular_vectors) {
    TestContext t;
    for (const auto& steps : {ops::quintic_steps(5), ops::polar_express_steps(6)})
        for (const auto& [rows, columns] :
             {std::pair<int64_t, int64_t>{6, 9}, {9, 6}, {8, 8}, {1, 7}, {7, 1}}) {
            const auto s = spread(static_cast<size_t>(std::min(rows, columns)));
            double squares = 0;
            for (double x : s) squares += x * x;
            std::vector<double> expected;
            for (double x : s)
                expected.push_back(after(x / (std::sqrt(squares) + ops::kNewtonSchulzEps), steps));
            const Tensor x = from_singular_values(t.allocator, rows, columns, s);
            const auto norms = iterate(t, x, steps);
            EXPECT_NEAR(norms[0], std::sqrt(squares), 1e-14);
            // Three products a step, each off by some 9 u of its terms of size 1 or less; the rounding of the
            // first step grows by the slope of at most 2000: 3 * 9 * 2000 u = 6e-12, at worst.
            expect_close(x, from_singular_values(t.allocator, rows, columns, expected), 6e-12, "matrix");
        }
}

TEST(newton_schulz, ranges_are_those_documented) {
    struct Range {
        std::vector<NewtonSchulzStep> steps;
        double lowest, highest;
    };
    for (const Range& range :
         {Range{ops::quintic_steps(5), 0.68, 1.21}, Range{ops::polar_express_steps(5), 0.87, 1.13},
          Range{ops::polar_express_steps(6), 0.997, 1.002}})
        for (int i = 0; i <= 100000; ++i) {
            const double s = after(0.002 + 0.998 * i / 100000, range.steps);
            ASSERT_GE(s, range.lowest) << i;
            ASSERT_LE(s, range.highest) << i;
        }
}

TEST(newton_schulz, no_difference_grows_by_more_than_the_slope) {
    for (const auto& steps : {ops::quintic_steps(1), ops::quintic_steps(5), ops::quintic_steps(9),
                              ops::polar_express_steps(5), ops::polar_express_steps(12)}) {
        const double slope = ops::newton_schulz_slope(steps);
        EXPECT_NEAR(after(1e-12, steps), slope * 1e-12, 1e-12 * slope * 1e-9);
        for (int i = 0; i < 100000; ++i) {
            const double a = i * 1e-5, b = a + 1e-5;
            ASSERT_LE(std::abs(after(b, steps) - after(a, steps)), slope * 1e-5 * (1 + 1e-9)) << a;
        }
    }
}

TEST(newton_schulz, zero_stays_zero_and_matrices_do_not_mix) {
    TestContext t;
    const Tensor together = random_tensor(t.allocator, {5, 4, 6}, DType::f64, "x");
    for (double& value : together.rows(2, 1).span<double>()) value = 0;
    const Tensor alone = converted(t.allocator, together, DType::f64);
    const auto norms = iterate(t, together, ops::quintic_steps(5));
    EXPECT_EQ(norms[2], 0);
    for (double value : together.rows(2, 1).span<double>()) EXPECT_EQ(value, 0);
    for (int64_t i = 0; i < 5; ++i) {
        iterate(t, alone.rows(i, 1), ops::quintic_steps(5));
        // On a GPU the number of matrices may change how they are multiplied. As above: 3 products a step,
        // whose rounding of 9 u grows by the slope of 485 at most.
        if (test_device().kind == DeviceKind::cpu)
            expect_identical(together.rows(i, 1), alone.rows(i, 1), "matrix");
        else
            expect_close(together.rows(i, 1), alone.rows(i, 1), 3 * 9 * 485 * 1.1e-16, "matrix");
    }
}

TEST(newton_schulz, f32_is_close_to_f64) {
    TestContext t;
    const Tensor wide = random_tensor(t.allocator, {3, 40, 70}, DType::f64, "x");
    const Tensor narrow = converted(t.allocator, wide, DType::f32);
    iterate(t, wide, ops::quintic_steps(5));
    iterate(t, narrow, ops::quintic_steps(5));
    // As above with 70 terms, of which rounding keeps about the root, and the steps' slope at the singular
    // values of a random matrix, about 1/sqrt(40): 15 products * 9 * 10 eps.
    expect_close(narrow, wide, 15 * 9 * 10 * std::numeric_limits<float>::epsilon(), "f32");
}

TEST(newton_schulz, bits_do_not_depend_on_threads) {
    TestContext t;
    for (const Shape& shape : {Shape{7, 40, 70}, Shape{2, 600, 520}})
        expect_same_bits_for_any_threads({"newton_schulz",
                                          {},
                                          {random_tensor(t.allocator, shape, DType::f64, "x")},
                                          [](Context& ctx, const Values& in, const OpCase::Weights&) {
                                              const Tensor y =
                                                  Tensor::empty(*ctx.allocator, in[0].shape(), in[0].dtype());
                                              copy(in[0], y);
                                              ops::newton_schulz(*ctx.allocator, y, ops::quintic_steps(5));
                                              return Values{y};
                                          }});
}

} // namespace
} // namespace braid::testing

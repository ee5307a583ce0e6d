#include "ops/cpu/vector_math.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

namespace braid::testing {
namespace {

template <typename T>
std::vector<T> sweep(double low, double high, int64_t count) {
    std::vector<T> x(static_cast<size_t>(count));
    for (size_t i = 0; i < x.size(); ++i)
        x[i] = static_cast<T>(low + (high - low) * static_cast<double>(i) / static_cast<double>(count));
    return x;
}

// Evaluates the vector function on x and holds it against `exact` (long double) within `ulps` relative units.
template <typename T>
void expect_function(const char* name, void (*function)(const T*, T*, int64_t),
                     long double (*exact)(long double), const std::vector<T>& x, double ulps) {
    std::vector<T> y(x.size());
    function(x.data(), y.data(), static_cast<int64_t>(x.size()));
    for (size_t i = 0; i < x.size(); ++i) {
        const long double expected = exact(static_cast<long double>(x[i]));
        const long double unit = std::numeric_limits<T>::epsilon() *
                                 std::max<long double>(std::abs(expected), std::numeric_limits<T>::min());
        ASSERT_LE(std::abs(static_cast<long double>(y[i]) - expected), ulps * unit)
            << name << "(" << x[i] << ") = " << y[i] << ", expected " << static_cast<double>(expected);
    }
}

long double exact_sigmoid(long double x) {
    return 1 / (1 + expl(-x));
}
long double exact_silu(long double x) {
    return x / (1 + expl(-x));
}
long double exact_softplus(long double x) {
    return x > 0 ? x + log1pl(expl(-x)) : log1pl(expl(x));
}

// Bounds: exp 1 ulp and the rounding of the result, then one unit for each operation that follows it; two
// more for the logarithm in softplus (error 4 ulp by Highway's documentation).
template <typename T>
void expect_functions(double exp_range) {
    expect_function<T>("exp", ops::cpu::exp<T>, expl, sweep<T>(-exp_range, exp_range, 4003), 2);
    expect_function<T>("log", ops::cpu::log<T>, logl, sweep<T>(1e-3, 50, 4001), 4);
    expect_function<T>("tanh", ops::cpu::tanh<T>, tanhl, sweep<T>(-25, 25, 4001), 6);
    expect_function<T>("sigmoid", ops::cpu::sigmoid<T>, exact_sigmoid, sweep<T>(-exp_range, exp_range, 4001),
                       4);
    expect_function<T>("silu", ops::cpu::silu<T>, exact_silu, sweep<T>(-exp_range, exp_range, 4001), 5);
    expect_function<T>("softplus", ops::cpu::softplus<T>, exact_softplus,
                       sweep<T>(-exp_range, exp_range, 4001), 8);
}

TEST(vector_math, accuracy_f32) {
    expect_functions<float>(87);
}
TEST(vector_math, accuracy_f64) {
    expect_functions<double>(700);
}

template <typename T>
void expect_special_values() {
    const T inf = std::numeric_limits<T>::infinity(), nan = std::numeric_limits<T>::quiet_NaN();
    const std::vector<T> x = {inf, -inf, nan, 0, 2000, -2000, static_cast<T>(1e30)};
    const auto apply = [&](void (*function)(const T*, T*, int64_t)) {
        std::vector<T> y(x.size());
        function(x.data(), y.data(), static_cast<int64_t>(x.size()));
        EXPECT_TRUE(std::isnan(y[2]));
        y[2] = 7;
        return y;
    };
    EXPECT_EQ(apply(ops::cpu::exp<T>), (std::vector<T>{inf, 0, 7, 1, inf, 0, inf}));
    EXPECT_EQ(apply(ops::cpu::sigmoid<T>), (std::vector<T>{1, 0, 7, T(0.5), 1, 0, 1}));
    EXPECT_EQ(apply(ops::cpu::tanh<T>), (std::vector<T>{1, -1, 7, 0, 1, -1, 1}));
    const auto softplus = apply(ops::cpu::softplus<T>);
    EXPECT_EQ(softplus[0], inf);
    EXPECT_EQ(softplus[1], 0);
    EXPECT_EQ(softplus[4], 2000);
    const std::vector<T> positive = {0, inf, -1};
    std::vector<T> y(3);
    ops::cpu::log(positive.data(), y.data(), 3);
    EXPECT_EQ(y[0], -inf);
    EXPECT_EQ(y[1], inf);
    EXPECT_TRUE(std::isnan(y[2]));
    EXPECT_TRUE(std::isnan(ops::cpu::max_value(x.data(), 7)));
    EXPECT_EQ(ops::cpu::max_value(x.data() + 3, 4), static_cast<T>(1e30));
    EXPECT_EQ(ops::cpu::max_value(x.data(), 0), -inf);
    EXPECT_TRUE(std::isnan(ops::cpu::exp_sum<T>(x.data() + 1, 0, nullptr, 2)));
}

TEST(vector_math, special_values) {
    expect_special_values<float>();
    expect_special_values<double>();
}

template <typename T>
void expect_every_length() {
    const auto x = sweep<T>(-3, 2, 80), dy = sweep<T>(1, -4, 80);
    for (int64_t n = 0; n <= 80; ++n) {
        std::vector<T> y(82, -1), dx(82, -1), e(82, -1);
        ops::cpu::silu(x.data(), y.data(), n);
        ops::cpu::silu_backward(x.data(), dy.data(), dx.data(), n);
        const double shifted = static_cast<double>(ops::cpu::exp_sum<T>(x.data(), T(0.5), e.data(), n));
        double sum = 0, dot = 0, max = -1e300, exp_sum = 0;
        const double bound =
            200 * std::numeric_limits<T>::epsilon(); // 80 terms of size up to 12, added singly
        for (size_t i = 0; i < static_cast<size_t>(n); ++i) {
            const double v = static_cast<double>(x[i]), g = static_cast<double>(dy[i]),
                         s = 1 / (1 + std::exp(-v));
            sum += v;
            dot += v * g;
            max = std::max(max, v);
            exp_sum += std::exp(v - 0.5);
            ASSERT_NEAR(static_cast<double>(y[i]), v * s, bound);
            ASSERT_NEAR(static_cast<double>(dx[i]), g * s * (1 + v * (1 - s)), bound);
            ASSERT_NEAR(static_cast<double>(e[i]), std::exp(v - 0.5), bound);
        }
        ASSERT_NEAR(static_cast<double>(ops::cpu::sum(x.data(), n)), sum, 12 * bound) << n;
        ASSERT_NEAR(static_cast<double>(ops::cpu::dot(x.data(), dy.data(), n)), dot, 12 * bound) << n;
        ASSERT_NEAR(shifted, exp_sum, 12 * bound) << n;
        if (n) {
            ASSERT_EQ(static_cast<double>(ops::cpu::max_value(x.data(), n)), max) << n;
        }
        for (const auto* out : {&y, &dx, &e})
            ASSERT_EQ((*out)[static_cast<size_t>(n)], -1) << "wrote beyond " << n;
    }
}

TEST(vector_math, every_length_and_nothing_beyond) {
    expect_every_length<float>();
    expect_every_length<double>();
}

} // namespace
} // namespace braid::testing

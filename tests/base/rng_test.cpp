#include "base/rng.h"

#include <gtest/gtest.h>

#include <cmath>
#include <numbers>
#include <vector>

#include "base/highway_targets.h"
#include "base/normal_quantile.h"
#include "base/normal_quantile_ratios.h"

// After ours, which says what targets there are.
#include <hwy/targets.h>

namespace braid::testing {
namespace {

TEST(rng, philox_equals_the_published_answers) { // known answers of Random123's philox4x32-10
    using Words = std::array<uint32_t, 4>;
    EXPECT_EQ(philox({0, 0, 0, 0}, {0, 0}), (Words{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
    constexpr uint32_t kOnes = 0xffffffff;
    EXPECT_EQ(philox({kOnes, kOnes, kOnes, kOnes}, {kOnes, kOnes}),
              (Words{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
}

TEST(rng, quantiles_of_the_normal_distribution) {
    // Published percentage points; p itself is rounded, which moves a quantile of the middle by as much.
    const auto expect_quantile = [](double p, double x) {
        EXPECT_NEAR(inverse_normal_cdf(p), x, 1e-14 * std::abs(x) + 1e-16) << "p " << p;
    };
    expect_quantile(0.5, 0);
    expect_quantile(0.75, 0.67448975019608174);
    expect_quantile(0.9, 1.2815515655446004);
    expect_quantile(0.975, 1.9599639845400542);
    expect_quantile(0.001, -3.0902323061678135);
    expect_quantile(1e-10, -6.3613409024040557);
    expect_quantile(1e-20, -9.2623400897984229);
}

TEST(rng, many_quantiles_at_once_have_the_bits_of_one) {
    const RngStream stream(3, RngPurpose::test, "p");
    std::vector<double> p{0.5,    0.075, 0.925,    std::nextafter(0.075, 0), std::nextafter(0.925, 1),
                          1e-300, 1e-11, 1 - 1e-11};
    for (uint64_t i = 0; i < 3000; ++i) p.push_back(stream.uniform(i));
    std::vector<double> quantiles = p;
    inverse_normal_cdf(quantiles);
    for (size_t i = 0; i < p.size(); ++i) EXPECT_EQ(quantiles[i], inverse_normal_cdf(p[i])) << "p " << p[i];
}

/// The function once more in plain numbers, one operation of f64 after the other.
double plain_quantile(double p) {
    const auto ratio = [](const quantile::Ratio& r, double x) {
        double above = r.above[7], below = r.below[7];
        for (size_t i = 7; i-- > 0;) above = above * x + r.above[i], below = below * x + r.below[i];
        return above / below;
    };
    const double q = p - 0.5;
    if (std::abs(q) <= 0.425) return q * ratio(quantile::kMiddle, 0.180625 - q * q);
    int exponent;
    double m = std::frexp(p < 0.5 ? p : 1 - p, &exponent); // from 1/2 on, below 1
    if (m <= std::numbers::sqrt2 / 2) m *= 2, --exponent;
    const double s = (m - 1) / (m + 1), z = s * s;
    double series = 1.0 / 21;
    for (int odd = 19; odd >= 1; odd -= 2) series = series * z + 1.0 / odd;
    const double r = std::sqrt(-exponent * std::numbers::ln2 - (s + s) * series);
    const double x = r <= 5 ? ratio(quantile::kTail, r - 1.6) : ratio(quantile::kFar, r - 5);
    return p < 0.5 ? -x : x;
}

TEST(rng, quantiles_have_the_bits_of_plain_arithmetic_on_every_processor) {
    const RngStream stream(5, RngPurpose::test, "p");
    std::vector<double> p{0x1p-53, 1 - 0x1p-53, 0.075, 0.925, 0x1p-4, std::numbers::sqrt2 / 32,
                          1e-300,  1e-11};
    for (uint64_t i = 0; i < 20000; ++i) p.push_back(stream.uniform(i));
    for (const int64_t target : hwy::SupportedAndGeneratedTargets()) {
        hwy::SetSupportedTargetsForTest(target);
        std::vector<double> quantiles = p;
        inverse_normal_cdf(quantiles);
        for (size_t i = 0; i < p.size(); ++i)
            ASSERT_EQ(quantiles[i], plain_quantile(p[i])) << hwy::TargetName(target) << ", p " << p[i];
    }
    hwy::SetSupportedTargetsForTest(0); // as the processor has them
}

TEST(rng, many_uniforms_at_once_have_the_bits_of_one) {
    const RngStream stream(11, RngPurpose::test, "block");
    for (const uint64_t first : {uint64_t{0}, uint64_t{3}, (uint64_t{1} << 32) - 5, uint64_t{1} << 40})
        for (const size_t count : {1, 2, 7, 8, 255, 256, 257, 1000}) {
            std::vector<double> many(count);
            stream.uniforms(first, many);
            for (size_t i = 0; i < count; ++i)
                ASSERT_EQ(many[i], stream.uniform(first + i)) << first << " " << i;
        }
}

TEST(rng, the_distribution_function_of_a_quantile_is_its_probability) {
    // The relative slope of the distribution's tail is x^2 at most where x is above 1: an error of 1e-15 in x
    // becomes that much of p; erfc adds a few roundings.
    for (double p = 0x1p-53; p < 0.5; p *= 1.07) {
        const double x = inverse_normal_cdf(p);
        EXPECT_NEAR(0.5 * std::erfc(-x / std::numbers::sqrt2) / p, 1, 1e-14 * std::max(1.0, x * x))
            << "p " << p;
        if (p > 1e-3) {
            EXPECT_NEAR(inverse_normal_cdf(1 - p), -x, 1e-12) << "p " << p;
        }
    }
}

} // namespace
} // namespace braid::testing

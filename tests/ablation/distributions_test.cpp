#include "ablation/statistics/distributions.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "base/error.h"

namespace braid::testing {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

/// As many comparisons with one reference, all of as many runs.
std::vector<double> equal_cells(int64_t comparisons) {
    return std::vector<double>(static_cast<size_t>(comparisons), std::sqrt(0.5));
}

TEST(distributions, dunnett_as_published) {
    // Two-sided, 5%: C. W. Dunnett, Biometrics 20, 1964, table II, to its two digits.
    struct Published {
        int64_t comparisons;
        double df, value;
    };
    for (const auto& [comparisons, df, value] : {Published{2, 10, 2.57},
                                                 {3, 10, 2.76},
                                                 {4, 10, 2.89},
                                                 {2, kInfinity, 2.21},
                                                 {3, kInfinity, 2.35},
                                                 {9, kInfinity, 2.69}})
        EXPECT_NEAR(dunnett_critical(0.05, equal_cells(comparisons), df), value, 0.005 + 1e-6)
            << comparisons << " comparisons, df " << df;
}

TEST(distributions, one_comparison_is_students_t) {
    for (const double df : {1.0, 2.0, 7.5, 100.0, kInfinity})
        for (const double c : {0.0, 0.5, 2.0, 6.0})
            EXPECT_DOUBLE_EQ(dunnett_p(c, {0.3}, df), student_p(c, df)) << df << " " << c;
    // Percentage points of Student's t, as every table has them.
    EXPECT_NEAR(dunnett_critical(0.05, {0.7}, 1), 12.706, 5e-4);
    EXPECT_NEAR(dunnett_critical(0.05, {0.7}, 3), 3.182, 5e-4);
    EXPECT_NEAR(dunnett_critical(0.01, {0.7}, kInfinity), 2.576, 5e-4);
}

TEST(distributions, dunnett_at_its_ends) {
    // Without correlation and with known noise the comparisons are apart: 1 - (1 - p)^k.
    for (const double c : {0.5, 1.0, 2.5}) {
        const double p = student_p(c, kInfinity);
        EXPECT_NEAR(dunnett_p(c, {0, 0, 0}, kInfinity), 1 - std::pow(1 - p, 3), 1e-12) << c;
    }
    // As good as the same comparison thrice, and many df as good as infinitely many.
    // With a hundredth of their own, the largest of three lies 0.0085 above one: 2 phi(2) 0.0085 = 0.0009.
    const double nearly = std::sqrt(1 - 1e-4);
    EXPECT_NEAR(dunnett_p(2, {nearly, nearly, nearly}, kInfinity), student_p(2, kInfinity) + 0.0009, 1e-4);
    EXPECT_NEAR(dunnett_p(2, equal_cells(4), 1e7), dunnett_p(2, equal_cells(4), kInfinity), 1e-6);
    EXPECT_NEAR(dunnett_p(0, equal_cells(4), 8), 1, 1e-12);
    EXPECT_EQ(dunnett_p(kInfinity, equal_cells(4), 8), 0);
}

TEST(distributions, dunnett_between_its_bounds) {
    for (const double df : {2.0, 30.0})
        for (const int64_t k : {2, 12}) {
            const double c = dunnett_critical(0.05, equal_cells(k), df);
            EXPECT_NEAR(dunnett_p(c, equal_cells(k), df), 0.05, 1e-9) << k << " " << df;
            EXPECT_GT(c, dunnett_critical(0.05, equal_cells(1), df));
            EXPECT_LT(c, dunnett_critical(0.05 / static_cast<double>(k), equal_cells(1), df)) << "Bonferroni";
        }
}

TEST(distributions, t_and_f_by_their_formulas) {
    for (const double t : {0.3, 1.0, 4.0}) {
        EXPECT_NEAR(student_p(t, 1), 1 - 2 / M_PI * std::atan(t), 1e-14); // Cauchy
        EXPECT_NEAR(student_p(-t, 2), 1 - t / std::sqrt(2 + t * t), 1e-14);
        EXPECT_NEAR(student_p(t, kInfinity), std::erfc(t / std::sqrt(2)), 1e-15);
        EXPECT_NEAR(f_p(t * t, 1, 7), student_p(t, 7), 1e-13);
        EXPECT_NEAR(f_p(t, 2, 6), std::pow(1 + t / 3, -3), 1e-14); // two df: (1 + 2 f / df)^(-df / 2)
    }
    EXPECT_EQ(student_p(kInfinity, 3), 0);
    EXPECT_EQ(f_p(kInfinity, 2, 3), 0);
    EXPECT_EQ(f_p(0, 2, 3), 1);
}

TEST(distributions, power_without_a_difference_is_the_level) {
    for (const double df : {2.0, 9.0}) {
        const double c = dunnett_critical(0.05, {0.5}, df);
        EXPECT_NEAR(noncentral_t_power(c, df, 0), 0.05, 1e-9);
        EXPECT_GT(noncentral_t_power(c, df, 2), noncentral_t_power(c, df, 1));
        EXPECT_NEAR(noncentral_t_power(c, df, 40), 1, 1e-4);
    }
}

TEST(distributions, refuse_what_means_nothing) {
    const double nan = std::nan("");
    EXPECT_THROW(dunnett_p(1, {}, 5), ConfigError);
    EXPECT_THROW(dunnett_p(1, {1.0, 0.5}, 5), ConfigError);
    EXPECT_THROW(dunnett_p(1, {-0.1, 0.5}, 5), ConfigError);
    EXPECT_THROW(dunnett_p(1, {nan, 0.5}, 5), ConfigError);
    EXPECT_THROW(dunnett_p(1, equal_cells(2), 0), ConfigError);
    EXPECT_THROW(dunnett_p(1, equal_cells(2), nan), ConfigError);
    EXPECT_THROW(dunnett_p(-1, equal_cells(2), 5), ConfigError);
    EXPECT_THROW(dunnett_p(nan, equal_cells(2), 5), ConfigError);
    for (const double alpha : {0.0, 1.0, -0.1, nan})
        EXPECT_THROW(dunnett_critical(alpha, equal_cells(2), 5), ConfigError) << alpha;
    EXPECT_THROW(student_p(1, 0), ConfigError);
    EXPECT_THROW(student_p(nan, 3), ConfigError);
    EXPECT_THROW(f_p(-1, 2, 3), ConfigError);
    EXPECT_THROW(f_p(1, 0, 3), ConfigError);
    EXPECT_THROW(f_p(nan, 2, 3), ConfigError);
}

} // namespace
} // namespace braid::testing

#include "ablation/statistics/analysis.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>
#include <random>

#include "ablation/statistics/distributions.h"
#include "base/error.h"

namespace braid::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr double kTolerance = 1e-12; // of numbers near 1 out of sums of few

/// Dunnett's value at 5% for comparisons with one reference.
double dunnett5(int64_t comparisons, double df, double alpha = 0.05) {
    return dunnett_critical(alpha, std::vector<double>(static_cast<size_t>(comparisons), std::sqrt(0.5)), df);
}

// 3 variants of 3 seeds, worked out by hand. Means of variants 2, 4, 6, of seeds 3, 4, 5, of all 4. What is
// left:
//     1 2 3      0  0  0
//     2 4 6     -1  0  1
//     6 6 6      1  0 -1     squares 4, df 4, variance 1, error of a difference sqrt(2 / 3)
const Outcomes kLayout = {{1, 2, 3}, {2, 4, 6}, {6, 6, 6}};

TEST(analysis, a_small_layout_by_hand) {
    const Analysis analysis = judge(kLayout, {.levels = {}});
    ASSERT_TRUE(analysis.noise);
    EXPECT_NEAR(analysis.noise->sd, 1, kTolerance);
    EXPECT_EQ(analysis.noise->degrees_of_freedom, 4);
    EXPECT_THAT(analysis.diverged, ElementsAre(0, 0, 0));
    EXPECT_FALSE(analysis.differences[0]);
    const double error = std::sqrt(2.0 / 3), c = dunnett5(2, 4);
    for (const size_t v : {size_t{1}, size_t{2}}) {
        const Difference& difference = *analysis.differences[v];
        const double estimate = 2 * static_cast<double>(v);
        EXPECT_NEAR(difference.estimate, estimate, kTolerance);
        EXPECT_NEAR(difference.low, estimate - c * error, 1e-9);
        EXPECT_NEAR(difference.high, estimate + c * error, 1e-9);
        EXPECT_NEAR(difference.p, dunnett_p(estimate / error, {std::sqrt(0.5), std::sqrt(0.5)}, 4), 1e-9);
    }
    // The critical value is 3.31: 2 lies within 2.7 of 0, 4 does not.
    EXPECT_EQ(analysis.differences[1]->verdict, Verdict::undecided);
    EXPECT_EQ(analysis.differences[2]->verdict, Verdict::worse);
    // Seeds' mean square 3 (1 + 0 + 1) / 2 = 3, so the seeds' own variance is (3 - 1) / 3, of 5/3 in all.
    EXPECT_NEAR(analysis.noise->pairing_correlation, 0.4, kTolerance);
    EXPECT_NEAR(analysis.noise->pairing_variance_factor, 5.0 / 3, kTolerance);
}

TEST(analysis, any_variant_may_be_the_reference) {
    const Analysis analysis = judge(kLayout, {.reference = 2, .levels = {}});
    EXPECT_FALSE(analysis.differences[2]);
    EXPECT_NEAR(analysis.differences[0]->estimate, -4, kTolerance);
    EXPECT_EQ(analysis.differences[0]->verdict, Verdict::better);
    EXPECT_NEAR(analysis.differences[1]->estimate, -2, kTolerance);
}

TEST(analysis, looks_share_alpha) {
    const Analysis one = judge(kLayout, {.alpha = 0.02, .levels = {}}),
                   three = judge(kLayout, {.alpha = 0.06, .looks = 3, .levels = {}});
    EXPECT_NEAR(one.differences[1]->low, three.differences[1]->low, 1e-12);
    EXPECT_NEAR(one.differences[1]->high, 2 + dunnett5(2, 4, 0.02) * std::sqrt(2.0 / 3), 1e-9);
    EXPECT_NEAR(one.differences[1]->p, three.differences[1]->p, 1e-12) << "not multiplied by looks";
}

TEST(analysis, seeds_that_shift_all_variants_change_nothing) {
    Outcomes shifted = kLayout;
    for (auto& row : shifted)
        for (size_t s = 0; s < 3; ++s) *row[s] += 100 * static_cast<double>(s * s);
    const Difference plain = *judge(kLayout, {.levels = {}}).differences[2];
    const Difference difference = *judge(shifted, {.levels = {}}).differences[2];
    EXPECT_NEAR(difference.low, plain.low, 1e-10);
    EXPECT_NEAR(difference.high, plain.high, 1e-10);
}

TEST(analysis, two_variants_are_the_paired_t_test) {
    // Whatever the variances: the second's are some hundred times the first's.
    const std::vector<double> a = {1, 1.25, 0.75, 1.125, 1}, b = {9, -14, 31, 6, -2};
    Outcomes outcomes(2);
    double mean = 0, squares = 0;
    for (size_t s = 0; s < a.size(); ++s) {
        outcomes[0].emplace_back(a[s]);
        outcomes[1].emplace_back(b[s]);
        mean += (b[s] - a[s]) / 5;
    }
    for (size_t s = 0; s < a.size(); ++s) squares += std::pow(b[s] - a[s] - mean, 2);
    const double error = std::sqrt(squares / 4 / 5);
    const Analysis analysis = judge(outcomes, {.levels = {}});
    const Difference& difference = *analysis.differences[1];
    EXPECT_EQ(analysis.noise->degrees_of_freedom, 4);
    EXPECT_FALSE(analysis.noise->equal_variances_p) << "residuals of two variants are mirrored";
    EXPECT_NEAR(difference.estimate, mean, 1e-12);
    EXPECT_NEAR(difference.high - mean, 2.7764451051977987 * error, 1e-8); // t of 4 df at 97.5%
    EXPECT_NEAR(difference.p, student_p(mean / error, 4), 1e-12);
    EXPECT_NEAR(analysis.noise->sd, error * std::sqrt(5.0 / 2), 1e-12);
}

TEST(analysis, two_seeds) {
    // Differences 1 and 3: mean 2, error 1, t of one df.
    const Difference difference = *judge({{0, 0}, {1, 3}}, {.levels = {}}).differences[1];
    EXPECT_NEAR(difference.estimate, 2, kTolerance);
    EXPECT_NEAR(difference.high, 2 + std::tan(0.475 * M_PI), 1e-8);
    EXPECT_NEAR(difference.p, 1 - 2 / M_PI * std::atan(2), 1e-12);
    // Of three variants the residuals of two seeds are mirrored too: no test of their variances.
    const Analysis three = judge({{0, 0}, {1, 3}, {50, 20}}, {.levels = {}});
    EXPECT_FALSE(three.noise->equal_variances_p);
    EXPECT_EQ(three.noise->method, IntervalMethod::pooled);
    EXPECT_EQ(three.noise->degrees_of_freedom, 2);
}

TEST(analysis, outcomes_that_are_all_equal) {
    const Analysis analysis = judge({{2, 2, 2}, {2, 2, 2}, {2, 2, 2}}, {.levels = {}});
    EXPECT_EQ(analysis.noise->sd, 0);
    for (const size_t v : {size_t{1}, size_t{2}}) {
        EXPECT_EQ(analysis.differences[v]->low, 0);
        EXPECT_EQ(analysis.differences[v]->high, 0);
        EXPECT_EQ(analysis.differences[v]->verdict, Verdict::equal);
        EXPECT_EQ(analysis.differences[v]->p, 1);
        EXPECT_FALSE(analysis.differences[v]->seeds_needed);
    }
    const Difference apart = *judge({{2, 2}, {1, 1}}, {.levels = {}}).differences[1];
    EXPECT_EQ(apart.low, -1);
    EXPECT_EQ(apart.high, -1);
    EXPECT_EQ(apart.p, 0);
    EXPECT_EQ(apart.verdict, Verdict::better);
}

TEST(analysis, a_diverged_variant_is_left_out_and_never_averaged) {
    Outcomes outcomes = kLayout;
    outcomes.insert(outcomes.begin() + 1, {1e6, std::nullopt, -1e6});
    const Analysis whole = judge(kLayout, {.levels = {}}), analysis = judge(outcomes, {.levels = {}});
    EXPECT_THAT(analysis.diverged, ElementsAre(0, 1, 0, 0));
    EXPECT_EQ(analysis.differences[1]->verdict, Verdict::diverged);
    EXPECT_EQ(analysis.differences[1]->estimate, 0) << "the mean of what is left would flatter";
    EXPECT_EQ(analysis.noise->sd, whole.noise->sd);
    EXPECT_EQ(analysis.noise->degrees_of_freedom, 4);
    for (const size_t v : {size_t{1}, size_t{2}}) {
        EXPECT_EQ(analysis.differences[v + 1]->low, whole.differences[v]->low);
        EXPECT_EQ(analysis.differences[v + 1]->high, whole.differences[v]->high);
    }
}

TEST(analysis, a_diverged_reference_leaves_no_verdicts) {
    Outcomes outcomes = kLayout;
    outcomes[0][2] = std::nullopt;
    const Analysis analysis = judge(outcomes, {.levels = {}});
    for (const auto& difference : analysis.differences) EXPECT_FALSE(difference);
    ASSERT_EQ(analysis.notes.size(), 1U);
    EXPECT_NE(analysis.notes[0].find("reference diverged"), std::string::npos);
    EXPECT_THAT(analysis.diverged, ElementsAre(1, 0, 0));
    // Noise is what the other two tell: differences 4, 2, 0 of variance 4, half of it each run's.
    EXPECT_NEAR(analysis.noise->sd, std::sqrt(2), kTolerance);
}

TEST(analysis, all_diverged) {
    const Analysis others = judge({{1, 2}, {std::nullopt, 1}, {std::nullopt, std::nullopt}}, {.levels = {}});
    EXPECT_FALSE(others.noise);
    EXPECT_THAT(others.diverged, ElementsAre(0, 1, 2));
    EXPECT_EQ(others.differences[2]->verdict, Verdict::diverged);
}

TEST(analysis, refuses_what_cannot_be_judged) {
    EXPECT_THROW(judge({{1, std::nan("")}, {1, 2}}, {.levels = {}}), ConfigError);
    EXPECT_THROW(judge({{1, std::numeric_limits<double>::infinity()}, {1, 2}}, {.levels = {}}), ConfigError);
    EXPECT_THROW(judge({}, {.levels = {}}), ConfigError);
    EXPECT_THROW(judge({{1, 2}}, {.levels = {}}), ConfigError);
    EXPECT_THROW(judge({{1}, {2}}, {.levels = {}}), ConfigError);
    EXPECT_THROW(judge({{1, 2}, {1, 2, 3}}, {.levels = {}}), ConfigError);
    EXPECT_THROW(judge(kLayout, {.reference = 3, .levels = {}}), ConfigError);
    EXPECT_THROW(judge(kLayout, {.matters = -1, .levels = {}}), ConfigError);
    EXPECT_THROW(judge(kLayout, {.matters = std::nan(""), .levels = {}}), ConfigError);
    EXPECT_THROW(judge(kLayout, {.alpha = 1, .levels = {}}), ConfigError);
    EXPECT_THROW(judge(kLayout, {.looks = 0, .levels = {}}), ConfigError);
}

TEST(analysis, verdicts_of_intervals) {
    EXPECT_EQ(verdict_of(-3, -2, 1), Verdict::better);
    EXPECT_EQ(verdict_of(-3, -0.5, 1), Verdict::better) << "beyond 0, perhaps by less than matters";
    EXPECT_EQ(verdict_of(2, 3, 1), Verdict::worse);
    EXPECT_EQ(verdict_of(0.5, 3, 1), Verdict::worse);
    EXPECT_EQ(verdict_of(-1, 1, 1), Verdict::equal);
    EXPECT_EQ(verdict_of(0.5, 0.75, 1), Verdict::equal) << "shown to differ, by too little to matter";
    EXPECT_EQ(verdict_of(-0.75, -0.5, 1), Verdict::equal);
    EXPECT_EQ(verdict_of(-2, 0.5, 1), Verdict::undecided);
    EXPECT_EQ(verdict_of(-0.5, 2, 1), Verdict::undecided);
    EXPECT_EQ(verdict_of(-2, 2, 1), Verdict::undecided);
    EXPECT_EQ(verdict_of(0, 2, 1), Verdict::undecided) << "0 is in it";
    EXPECT_EQ(verdict_of(-2, 0, 1), Verdict::undecided);
    EXPECT_EQ(verdict_of(0, 0, 0), Verdict::equal);
    EXPECT_EQ(verdict_of(1, 2, 0), Verdict::worse);
    EXPECT_EQ(verdict_of(-1, 1, 0), Verdict::undecided);
}

// ---- axes

TEST(analysis, a_grid_of_two_axes_by_hand) {
    // Means of cells 2, 3, 6, 9; of seeds 4.25, 4.75, 6; residuals with a sum of squares of 5.5 of 6 df.
    const Outcomes outcomes = {{1, 2, 3}, {2, 4, 3}, {5, 5, 8}, {9, 8, 10}};
    const Analysis analysis = judge(outcomes, {.matters = 0.1, .levels = {{0, 0}, {0, 1}, {1, 0}, {1, 1}}});
    EXPECT_NEAR(analysis.noise->sd, std::sqrt(5.5 / 6), 1e-14);
    ASSERT_EQ(analysis.main_effects.size(), 2U);
    // Means of six runs each: 7.5 - 2.5, and 6 - 4; one comparison an axis is Student's t of 6 df.
    const double half = dunnett_critical(0.05, {0.5}, 6) * std::sqrt(2 * 5.5 / 6 / 6);
    for (const auto& [effect, estimate] :
         {std::pair(analysis.main_effects[0], 5.0), {analysis.main_effects[1], 2.0}}) {
        EXPECT_NEAR(effect.difference.estimate, estimate, 1e-14);
        EXPECT_NEAR(effect.difference.high - effect.difference.low, 2 * half, 1e-9);
        EXPECT_EQ(effect.difference.verdict, Verdict::worse);
    }
    // 9 - 6 - 3 + 2 = 2, half of which is in each of four cells of three runs: 3 * 4 / 4 = 3 of 1 df.
    ASSERT_EQ(analysis.interactions.size(), 1U);
    EXPECT_NEAR(analysis.interactions[0].f, 3 / (5.5 / 6), 1e-12);
    EXPECT_NEAR(analysis.interactions[0].p, f_p(3 / (5.5 / 6), 1, 6), 1e-12);
    EXPECT_EQ(analysis.interactions[0].degrees_of_freedom, (std::array<double, 2>{1, 6}));
}

TEST(analysis, a_grid_with_a_hole_has_no_main_effects) {
    const Analysis analysis = judge({{1, 2, 3}, {2, 4, 3}, {5, 5, 8}}, {.levels = {{0, 0}, {0, 1}, {1, 0}}});
    EXPECT_TRUE(analysis.main_effects.empty() && analysis.interactions.empty());
    EXPECT_THAT(analysis.notes, ::testing::ElementsAre(::testing::HasSubstr("not every combination")));
}

// ---- whether all variants have the same noise

TEST(analysis, equal_noise_by_the_share_of_the_largest) {
    EXPECT_EQ(equal_noise_p({{0, 0, 0, 0}, {0, 0, 0, 0}, {0, 0, 0, 0}}), 1);
    // All in one row is more than normal numbers give: a row's mirror lies in the others.
    EXPECT_EQ(equal_noise_p({{3, -3, 3, -3}, {0, 0, 0, 0}, {0, 0, 0, 0}}), 1.0 / (kSimulatedTables + 1));
    // Rows as even as can be are less uneven than any table of normal numbers.
    EXPECT_EQ(equal_noise_p({{1, -1, 1, -1}, {-1, 1, -1, 1}, {1, -1, 1, -1}}), 1);
    // Tables of another generator: a p below 0.02 in 2% of them; three standard deviations of 4000 draws, and
    // as much for the simulated tables.
    std::mt19937_64 generator(7);
    std::normal_distribution<double> normal;
    int below = 0;
    for (int i = 0; i < 4000; ++i) {
        Outcomes outcomes(5);
        for (auto& row : outcomes)
            for (int s = 0; s < 5; ++s) row.emplace_back(normal(generator));
        const Analysis analysis =
            judge(outcomes, {.step_seeds = kMostSeedsTold, .levels = {}, .p_values = false});
        below += *analysis.noise->equal_variances_p < 0.02;
    }
    EXPECT_NEAR(below / 4000.0, 0.02, 3 * std::sqrt(0.02 * 0.98 * (1 / 4000.0 + 1.0 / kSimulatedTables)));
}

/// Eight seeds of `variants`, the last with 100 times the others' noise. Columns of a Hadamard matrix.
Outcomes unequal_table() {
    Outcomes outcomes(4);
    for (size_t s = 0; s < 8; ++s) {
        const auto sign = [&](size_t mask) { return std::popcount(s & mask) % 2 == 0 ? 1.0 : -1.0; };
        outcomes[0].emplace_back(sign(1) + 0.25 * sign(3));
        outcomes[1].emplace_back(sign(2) + 0.25 * sign(3) + 5);
        outcomes[2].emplace_back(sign(4) + 0.25 * sign(3));
        outcomes[3].emplace_back(100 * sign(7) + static_cast<double>(s));
    }
    return outcomes;
}

TEST(analysis, unequal_noise_is_not_pooled) {
    const Outcomes outcomes = unequal_table();
    const Analysis analysis = judge(outcomes, {.levels = {}});
    ASSERT_TRUE(analysis.noise->equal_variances_p);
    EXPECT_LT(*analysis.noise->equal_variances_p, kNoiseLevel);
    EXPECT_EQ(analysis.noise->method, IntervalMethod::paired);
    // Differences of the second are 5 + sign - sign, of variance 2 * 8 / 7: t of 7 df at 5% over three.
    const double error = std::sqrt(2.0 * 8 / 7 / 8), c = dunnett_critical(0.05 / 3, {0.5}, 7);
    const Difference& difference = *analysis.differences[1];
    EXPECT_NEAR(difference.estimate, 5, 1e-12);
    EXPECT_NEAR(difference.low, 5 - c * error, 1e-8);
    EXPECT_NEAR(difference.high, 5 + c * error, 1e-8);
    EXPECT_NEAR(difference.p, 3 * student_p(5 / error, 7), 1e-12);
    EXPECT_EQ(difference.verdict, Verdict::worse) << "the fourth's noise does not hide it";
    EXPECT_EQ(analysis.differences[3]->verdict, Verdict::undecided);
    EXPECT_LE(analysis.differences[2]->p, 1);
}

// ---- seeds that would decide, and power

TEST(analysis, seeds_needed_decide_when_judged_again) {
    // Copies of the seeds leave estimate and squares as they are; df of the copied table are those of as many
    // seeds, and its variance is squares / df, a little less than the noise that was foreseen.
    for (const double matters : {0.0, 3.0}) {
        const JudgeOptions options{.matters = matters, .levels = {}};
        const Difference now = *judge(kLayout, options).differences[1];
        ASSERT_EQ(now.verdict, Verdict::undecided) << matters;
        ASSERT_TRUE(now.seeds_needed) << matters;
        const auto needed = static_cast<double>(*now.seeds_needed);
        const auto half = [&](double seeds) { return dunnett5(2, 2 * (seeds - 1)) * std::sqrt(2 / seeds); };
        EXPECT_NE(verdict_of(2 - half(needed), 2 + half(needed), matters), Verdict::undecided);
        EXPECT_EQ(verdict_of(2 - half(needed - 1), 2 + half(needed - 1), matters), Verdict::undecided);
        // A table of so many seeds with exactly this noise: kLayout's residuals in a wider row, scaled to
        // variance 1.
        Outcomes again(3);
        const int64_t seeds = *now.seeds_needed + *now.seeds_needed % 2;
        const double size = std::sqrt(static_cast<double>(seeds - 1) / static_cast<double>(seeds));
        for (int64_t s = 0; s < seeds; ++s) {
            const double sign = s % 2 == 0 ? size : -size;
            again[0].emplace_back(2);
            again[1].emplace_back(4 - sign);
            again[2].emplace_back(6 + sign);
        }
        const Analysis later = judge(again, options);
        EXPECT_NEAR(later.noise->sd, 1, 1e-12);
        const double low = 2 - half(static_cast<double>(seeds)), high = 2 + half(static_cast<double>(seeds));
        EXPECT_NE(verdict_of(low, high, matters), Verdict::undecided);
    }
}

TEST(analysis, seeds_needed_in_steps_of_a_look) {
    const int64_t by_one = *judge(kLayout, {.levels = {}}).differences[1]->seeds_needed,
                  by_five = *judge(kLayout, {.step_seeds = 5, .levels = {}}).differences[1]->seeds_needed;
    EXPECT_EQ((by_five - 3) % 5, 0);
    EXPECT_GE(by_five, by_one);
    EXPECT_LT(by_five, by_one + 5);
    // A difference of 0 is never decided where nothing is equal.
    EXPECT_FALSE(judge({{0, 1, 2}, {2, 1, 0}}, {.levels = {}}).differences[1]->seeds_needed);
}

TEST(analysis, power_of_the_smallest_difference) {
    for (const int64_t variants : {2, 4, 9})
        for (const int64_t seeds : {2, 4, 8})
            for (const int64_t looks : {1, 3}) {
                const PlannedTest plan{
                    .variants = variants, .seeds = seeds, .noise_sd = 0.01, .alpha = 0.05, .looks = looks};
                const double smallest = smallest_difference(plan);
                EXPECT_NEAR(power(plan, smallest), 0.8, 1e-8);
                EXPECT_NEAR(power(plan, -smallest), 0.8, 1e-8);
                EXPECT_LT(power(plan, 0.5 * smallest), 0.8);
                EXPECT_GT(power(plan, 2 * smallest), 0.8);
                EXPECT_GT(smallest_difference(plan, 0.95), smallest);
                PlannedTest other = plan;
                other.noise_sd = 0.02;
                EXPECT_NEAR(smallest_difference(other), 2 * smallest, 1e-8 * smallest + 1e-12);
                other = plan;
                ++other.seeds;
                EXPECT_LT(smallest_difference(other), smallest);
                other = plan;
                ++other.looks;
                EXPECT_GT(smallest_difference(other), smallest);
            }
}

TEST(analysis, power_without_a_difference_is_below_alpha) {
    EXPECT_NEAR(power({.variants = 2, .seeds = 5}, 0), 0.05, 1e-8);
    EXPECT_LT(power({.variants = 6, .seeds = 5}, 0), 0.05);
    EXPECT_NEAR(power({.variants = 2, .seeds = 5, .looks = 2}, 0), 0.025, 1e-8);
}

} // namespace
} // namespace braid::testing

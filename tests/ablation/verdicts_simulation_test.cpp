#include <gtest/gtest.h>

#include <cmath>

#include "tests/ablation/verdict_simulation.h"

namespace braid::testing {
namespace {

using namespace simulation;

constexpr uint64_t kSeed = 1;

/// Percent points within which shares of so many sweeps lie 99.7 times in 100.
double three_deviations(double share, int64_t sweeps) {
    return 3 * std::sqrt(share * (1 - share) / static_cast<double>(sweeps));
}

// All tables of docs/verdicts.md: bench_verdicts, which takes some minutes.
TEST(verdicts, slow_family_error_where_assumptions_hold) {
    constexpr int64_t kSweeps = 10'000;
    for (const int64_t comparisons : {1, 2, 3, 12})
        for (const int64_t seeds : {2, 4, 8})
            for (const auto& [looks, tuned] : {std::pair<int64_t, bool>{1, false}, {2, false}, {1, true}}) {
                SimulatedSweep sweep;
                sweep.comparisons = comparisons;
                sweep.seeds = seeds;
                sweep.looks = looks;
                sweep.tuned = tuned;
                const Counts counts = simulate(sweep, kSweeps, kSeed, 2);
                EXPECT_LT(upper_bound(counts.errors, counts.sweeps), 0.065)
                    << comparisons << " comparisons, " << seeds << " seeds, " << looks << " looks, tuned "
                    << tuned << ", seed " << kSeed;
            }
}

TEST(verdicts, slow_power_is_what_is_promised) {
    constexpr int64_t kSweeps = 10'000;
    for (const int64_t comparisons : {1, 5})
        for (const int64_t seeds : {3, 6}) {
            const PlannedTest plan{.variants = comparisons + 1, .seeds = seeds};
            for (const double part : {0.5, 1.0}) {
                SimulatedSweep sweep;
                sweep.comparisons = comparisons;
                sweep.seeds = seeds;
                sweep.difference = part * smallest_difference(plan);
                const Counts counts = simulate(sweep, kSweeps, kSeed, 2);
                EXPECT_NEAR(share(counts.shown, counts), power(plan, sweep.difference), 0.02)
                    << comparisons << " comparisons, " << seeds << " seeds, seed " << kSeed;
            }
        }
}

TEST(verdicts, few_simulated_sweeps_err_as_often_as_promised) {
    constexpr int64_t kSweeps = 1000;
    SimulatedSweep sweep;
    sweep.comparisons = 3;
    const Counts counts = simulate(sweep, kSweeps, kSeed, 2);
    EXPECT_NEAR(share(counts.errors, counts), 0.05, three_deviations(0.05, kSweeps)) << "seed " << kSeed;
}

} // namespace
} // namespace braid::testing

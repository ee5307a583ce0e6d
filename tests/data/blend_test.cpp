#include "data/blend.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "base/error.h"

namespace braid {
namespace {

TEST(blend, one_source_gets_everything) {
    const Blend blend({0.3});
    for (const int64_t sample : {int64_t{0}, int64_t{17}, int64_t{1} << 50}) {
        EXPECT_EQ(blend(sample).source, 0);
        EXPECT_EQ(blend(sample).index, sample);
    }
}

// Each source counts its own samples without gaps, over block borders, and keeps its share at every moment.
TEST(blend, sources_count_without_gaps_and_keep_their_share) {
    const std::vector<std::vector<double>> cases{
        {1, 1}, {3, 1}, {0.7, 0.2, 0.1}, {1, 1, 1, 1, 1, 1, 1}, {1000, 1}, {1e300, 1e299}};
    for (const std::vector<double>& weights : cases) {
        const Blend blend(weights);
        double total = 0;
        for (double weight : weights) total += weight;
        std::vector<int64_t> seen(weights.size(), 0);
        for (int64_t sample = 0; sample < 2 * Blend::kBlock + 1000; ++sample) {
            const Blend::Draw draw = blend(sample);
            ASSERT_EQ(draw.index, seen[static_cast<size_t>(draw.source)]++);
            for (size_t k = 0; k < weights.size(); ++k) {
                // Off by the interleaving (below one sample per source), and by less than one sample per
                // block.
                const double share = weights[k] / total * static_cast<double>(sample + 1);
                ASSERT_NEAR(static_cast<double>(seen[k]), share, static_cast<double>(weights.size()) + 3)
                    << "sample " << sample;
            }
        }
    }
}

TEST(blend, tiny_weights_are_not_lost) {
    const Blend blend({1, 1e-12});
    int64_t seen = 0;
    for (int64_t sample = 0; sample < Blend::kBlock; ++sample) seen += blend(sample).source == 1;
    EXPECT_EQ(seen, 1);
}

// Every block draws the same, so any sample can be found without the ones before it.
TEST(blend, counts_what_the_first_samples_take) {
    for (const std::vector<double>& weights : {std::vector<double>{1}, {0.7, 0.2, 0.1}}) {
        const Blend blend(weights);
        std::vector<int64_t> seen(weights.size(), 0);
        for (int64_t sample = 0; sample < 20'000; ++sample) {
            if (sample % 997 == 0) {
                EXPECT_EQ(blend.counts(sample), seen) << sample;
            }
            ++seen[static_cast<size_t>(blend(sample).source)];
        }
    }
}

TEST(blend, is_random_access) {
    const Blend blend({2, 5, 3});
    std::vector<int64_t> per_block(3, 0);
    for (int64_t sample = 0; sample < Blend::kBlock; ++sample)
        ++per_block[static_cast<size_t>(blend(sample).source)];
    const int64_t block = 1883798049, within = 4321;
    const Blend::Draw near = blend(within), far = blend(block * Blend::kBlock + within);
    EXPECT_EQ(far.source, near.source);
    EXPECT_EQ(far.index, near.index + block * per_block[static_cast<size_t>(near.source)]);
}

TEST(blend, weights_that_make_no_sense_are_refused) {
    EXPECT_THROW(Blend({}), InternalError);
    EXPECT_THROW(Blend({1, 0}), InternalError);
    EXPECT_THROW(Blend({-1}), InternalError);
    EXPECT_THROW(Blend({NAN}), InternalError);
    EXPECT_THROW(Blend({INFINITY}), InternalError);
}

} // namespace
} // namespace braid

#include "data/shuffle.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "base/error.h"

namespace braid {
namespace {

TEST(permutation, is_one_for_every_size) {
    for (int64_t size = 1; size <= 300; size += size < 40 ? 1 : 53) {
        const Permutation permutation(size, 3, "name");
        std::vector<int> hits(static_cast<size_t>(size), 0);
        for (int64_t i = 0; i < size; ++i) {
            const int64_t place = permutation(i);
            ASSERT_TRUE(place >= 0 && place < size) << "size " << size;
            ++hits[static_cast<size_t>(place)];
        }
        for (int count : hits) ASSERT_EQ(count, 1) << "size " << size;
    }
}

TEST(permutation, is_the_same_in_every_version) {
    // Resumed runs depend on these numbers: a change breaks every checkpoint's data order.
    const Permutation permutation(1000, 42, "fingerprint/0");
    std::vector<int64_t> places;
    for (int64_t i = 0; i < 6; ++i) places.push_back(permutation(i));
    EXPECT_EQ(places, (std::vector<int64_t>{853, 425, 900, 668, 407, 395}));
}

TEST(permutation, giant_sizes_stay_inside) {
    const int64_t size = (int64_t{1} << 40) + 12345;
    const Permutation permutation(size, 3, "name");
    for (int64_t i = 0; i < 100; ++i) {
        const int64_t place = permutation(size - 1 - i);
        EXPECT_TRUE(place >= 0 && place < size);
    }
    EXPECT_THROW(permutation(size), InternalError);
    EXPECT_THROW(Permutation(0, 1, "name"), InternalError);
}

// In a random permutation of n the number of fixed points is Poisson(1), and the sum over neighbours of
// |p(i+1) - p(i)| is n^2 / 3 on average with a relative spread of order 1 / sqrt(n). An order that keeps
// neighbours together fails.
TEST(permutation, looks_random) {
    const int64_t size = 10007;
    for (uint64_t seed = 0; seed < 5; ++seed) {
        const Permutation permutation(size, seed, "name");
        int fixed = 0;
        double distance = 0;
        for (int64_t i = 0, before = permutation(size - 1); i < size; ++i) {
            const int64_t place = permutation(i);
            fixed += place == i;
            distance += std::abs(static_cast<double>(place - before));
            before = place;
        }
        EXPECT_LE(fixed, 8) << "seed " << seed; // more has probability 1e-6
        EXPECT_NEAR(distance / static_cast<double>(size * size) * 3, 1, 0.05) << "seed " << seed;
    }
}

TEST(permutation, seeds_and_names_give_other_orders) {
    const int64_t size = 5000;
    const Permutation a(size, 1, "x/0"), b(size, 2, "x/0"), c(size, 1, "x/1");
    int same_b = 0, same_c = 0;
    for (int64_t i = 0; i < size; ++i) {
        same_b += a(i) == b(i);
        same_c += a(i) == c(i);
    }
    EXPECT_LE(same_b, 8);
    EXPECT_LE(same_c, 8);
}

} // namespace
} // namespace braid

// Random models in random layouts compute what one rank computes. A case that fails prints its seed; to run
// it alone: test_trainer --gtest_filter='*layout_property*/0' with BRAID_LAYOUT_SEED=SEED.

#include <gtest/gtest.h>

#include "parallel/thread_comm.h"
#include "tests/support/sanitized.h"
#include "tests/trainer/layout_draw.h"

namespace braid::testing {
namespace {

constexpr uint64_t kSeedGroups = 10;
constexpr uint64_t kDrawsPerGroup = test::kSanitized ? 3 : 22;

class layout_property : public ::testing::TestWithParam<uint64_t> {};

TEST_P(layout_property, random_layouts_compute_what_one_rank_computes) {
    for (const uint64_t seed : layout_seeds(GetParam() * 1000, kDrawsPerGroup)) {
        const LayoutDraw draw = draw_layout(seed);
        const auto reference =
            run_layout(draw.run, {.micro_batch = draw.run.global_batch}, *self_communicator());
        std::vector<LayoutStep> steps;
        run_thread_ranks(draw.num_ranks, [&](Communicator& comm) {
            auto result = run_layout(draw.laid_out, draw.layout, comm, &reference);
            if (comm.rank() == 0) steps = std::move(result);
        });
        const LayoutDifference worst = compare(steps, reference);
        EXPECT_LE(worst.error, kParityBound) << worst.where << "; " << describe(draw);
    }
}

INSTANTIATE_TEST_SUITE_P(seeds, layout_property, ::testing::Range<uint64_t>(1, kSeedGroups + 1));

} // namespace
} // namespace braid::testing

// The same steps on processes and alone.

#include <fmt/core.h>
#include <gtest/gtest.h>

#include "layers/feed_forward/moe_config.h"
#include "tests/distributed/device_ranks.h"
#include "tests/trainer/parity_case.h"

namespace braid::testing {
namespace {

TEST(parity, processes_compute_the_steps_of_one_rank) {
    const DeviceRanks ranks;
    const auto& world = ranks.world;
    const int size = world->size();
    for (AuxScope scope : {AuxScope::sequence, AuxScope::global}) {
        LayoutCase run = parity_case(scope, scope == AuxScope::global);
        if (scope == AuxScope::global) run.optimizer.type = OptimizerType::muon;
        run.compute = ranks.compute;
        const auto reference = run_layout(run, {.micro_batch = run.global_batch}, *self_communicator());
        for (int64_t micro_batch : {1, 2, 4})
            for (const ParallelConfig& sizes :
                 {ParallelConfig{}, ParallelConfig{.tensor = size > 1 ? 2 : 1},
                  ParallelConfig{.expert = size > 1 ? 2 : 1},
                  ParallelConfig{
                      .tensor = size > 1 ? 2 : 1, .expert = size > 1 ? 2 : 1, .sequence = false}}) {
                const Layout layout{.parallel = sizes, .micro_batch = micro_batch};
                const auto together = run_layout(run, layout, *world, &reference);
                const LayoutDifference worst = compare(together, reference);
                EXPECT_LE(worst.error, kParityBound)
                    << worst.where
                    << fmt::format(" on {} ranks, tensor {}, expert {}, micro-batch {}", size, sizes.tensor,
                                   sizes.expert, micro_batch);
                EXPECT_EQ(compare(run_layout(run, layout, *world, &reference), together).error, 0);
            }
    }
}

} // namespace
} // namespace braid::testing

// Every axis once, on processes, against one rank on the CPU: on the CPU and on GPUs (device_ranks.h). Small,
// so that emulated GPUs get through it; parity_test.cpp has the combinations.

#include <fmt/core.h>
#include <gtest/gtest.h>

#include "layers/feed_forward/moe_config.h"
#include "tests/distributed/device_ranks.h"
#include "tests/trainer/parity_case.h"

namespace braid::testing {
namespace {

LayoutCase small_case(OptimizerType optimizer) {
    LayoutCase run = parity_case(AuxScope::global, false);
    run.model.pattern = "gdn+moe, attn+dense";
    run.model.sublayers.at("moe").kind.get<MoeConfig>().expert_size = 4; // which two ranks can share
    run.optimizer.type = optimizer;
    run.global_batch = 3;
    run.sequence_length = 9;
    return run;
}

/// What one rank on the CPU computes: loss, every gradient, every update, router biases. The reference is the
/// same on all ranks, each of which computes it.
void expect_parity(const DeviceRanks& ranks, OptimizerType optimizer, const Layout& layout) {
    LayoutCase run = small_case(optimizer);
    const auto reference = run_layout(run, {.micro_batch = run.global_batch}, *self_communicator());
    run.compute = ranks.compute;
    if (optimizer == OptimizerType::muon) run = in_pieces(run, 4); // experts of the reference work in one
    const auto found = run_layout(run, layout, *ranks.world, &reference);
    ASSERT_GT(reference[1].grad_norm, 0);
    ASSERT_FALSE(found[0].gradients.empty());
    const LayoutDifference worst = compare(found, reference);
    const ParallelConfig& sizes = layout.parallel;
    EXPECT_LE(worst.error, kParityBound)
        << worst.where
        << fmt::format(" on {} ranks, tensor {}, sequence {}, expert {}, expert_tensor {}, ZeRO {}",
                       ranks.world->size(), sizes.tensor, sizes.sequence, sizes.expert, sizes.expert_tensor,
                       layout.parallel.zero);
}

TEST(axes, give_the_gradients_and_updates_of_one_rank) {
    const DeviceRanks ranks;
    const int size = ranks.world->size();
    constexpr auto adamw = OptimizerType::adamw, muon = OptimizerType::muon;
    expect_parity(ranks, adamw, {.parallel = {.zero = false}}); // data
    expect_parity(ranks, muon, {.micro_batch = 2});             // and ZeRO
    if (size == 1) return;
    expect_parity(ranks, adamw, {.parallel = {.tensor = 2}});
    expect_parity(ranks, muon, {.parallel = {.tensor = 2, .sequence = false}});
    expect_parity(ranks, adamw, {.parallel = {.expert = 2}});
    expect_parity(ranks, adamw, {.parallel = {.expert_tensor = 2}});
    if (size < 4) return;
    expect_parity(ranks, OptimizerType::muon, {.parallel = {.tensor = 2, .expert = 2}});
    expect_parity(ranks, OptimizerType::adamw, {.parallel = {.expert = 2, .expert_tensor = 2}});
}

} // namespace
} // namespace braid::testing

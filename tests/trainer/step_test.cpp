#include <gtest/gtest.h>

#include "layers/feed_forward/moe_config.h"
#include "parallel/thread_comm.h"
#include "tests/support/lazy_comm.h"
#include "tests/trainer/parity_case.h"
#include "trainer/training/training_rank.h"

namespace braid::testing {
namespace {

/// The losses of four steps of a case with ZeRO-1, nothing awaited between them but what the plan awaits.
std::vector<double> losses(const LayoutCase& run, Communicator& world) {
    TrainingRank rank(run.model, run.freeze, world,
                      {.parallel = {.zero = 1},
                       .global_batch = run.global_batch,
                       .micro_batch = run.global_batch,
                       .sequence_length = run.sequence_length,
                       .precision = DType::f64},
                      Stream());
    rank.allocate(run.optimizer, run.seed);
    std::vector<double> result;
    for (int64_t step = 0; step < 4; ++step) {
        const int64_t first = step * run.global_batch;
        Recorder recorder(rank.model().moe_layers().size(), false);
        const auto batches =
            rank.load(first, [&](int64_t start, int64_t count) { return made_samples(run, start, count); });
        result.push_back(
            rank.compute(batches, made_samples(run, first, run.global_batch).num_valid_labels, recorder)
                .loss);
        rank.update(rank.optimizer(), step + 1, run.optimizer.lr, 1);
    }
    return result;
}

// The slowest transport shows a missing wait at once: the second step would read values of the first. Losses
// of one and of three ranks differ by rounding only: a wrong value would change them by a share of the
// learning rate.
TEST(step, updated_values_are_awaited_before_they_are_read) {
    LayoutCase run = parity_case(AuxScope::sequence, true);
    for (const OptimizerType type : {OptimizerType::adamw, OptimizerType::muon}) {
        run.optimizer.type = type;
        const std::vector<double> expected = losses(run, *self_communicator());
        EXPECT_GT(std::abs(expected[3] - expected[0]), 1e-4);
        run_thread_ranks(3, [&](Communicator& ranks) {
            LazyCommunicator world(ranks);
            const std::vector<double> found = losses(run, world);
            for (size_t step = 0; step < expected.size(); ++step)
                EXPECT_NEAR(found[step], expected[step], 1e-10) << to_string(type) << ", step " << step + 1;
        });
    }
}

} // namespace
} // namespace braid::testing

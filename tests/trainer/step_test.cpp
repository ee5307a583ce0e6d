#include "trainer/training/step.h"

#include <gtest/gtest.h>

#include "optim/optimizer.h"
#include "parallel/thread_comm.h"
#include "tests/support/lazy_comm.h"
#include "tests/trainer/parity_case.h"

namespace braid::testing {
namespace {

/// The losses of four steps of a case with ZeRO-1, nothing awaited between them but what the plan awaits.
std::vector<double> losses(const LayoutCase& run, Communicator& world) {
    Allocator allocator;
    Mesh mesh(world, {});
    ParameterStore store(mesh.grid());
    const Model model(run.model, store);
    store.allocate(allocator, DType::f64, true);
    store.initialize(run.seed);
    const auto optimizer = make_optimizer(run.optimizer, store, mesh, allocator, true);
    for (const ReductionGroup& group : reduction_groups(store)) mesh.prepare(group);
    StepRunner runner(model, store, mesh, allocator, false, {.own_share = true});
    const EvenSplit split{run.global_batch, world.size()};
    std::vector<double> result;
    for (int64_t step = 0; step < 4; ++step) {
        const int64_t first = step * run.global_batch;
        const StepTotals totals{made_samples(run, first, run.global_batch).num_valid_labels,
                                run.global_batch * run.sequence_length, run.global_batch};
        Recorder recorder(model.moe_layers().size(), false);
        runner.run(
            1,
            [&](int) {
                return to_tensors(allocator, made_samples(run, first + split.first(world.rank()),
                                                          split.length(world.rank())));
            },
            totals, recorder);
        recorder.reduce(world);
        result.push_back(recorder.cross_entropy / static_cast<double>(totals.valid_labels));
        runner.update([&](int unit) { optimizer->update(unit, step + 1, run.optimizer.lr, 1); });
    }
    runner.await_parameters();
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

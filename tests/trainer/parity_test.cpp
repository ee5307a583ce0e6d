// Every split of a step into ranks and micro-batches computes the same thing: loss, every parameter's
// gradient after all reductions, gradient norm, and updated parameters.

#include <fmt/core.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "parallel/thread_comm.h"
#include "tests/trainer/parity_case.h"

namespace braid::testing {
namespace {

StepResult on_ranks(const ModelConfig& config, int ranks, int64_t micro_batch, bool recompute = false) {
    std::vector<StepResult> results(static_cast<size_t>(ranks));
    run_thread_ranks(ranks, [&](Communicator& comm) {
        results[static_cast<size_t>(comm.rank())] = run_parity_steps(config, comm, micro_batch, recompute);
    });
    for (const StepResult& other : results) { // all ranks hold the same bits
        EXPECT_EQ(other.gradients, results[0].gradients);
        EXPECT_EQ(other.loss, results[0].loss);
        EXPECT_EQ(other.buffers, results[0].buffers);
        EXPECT_EQ(other.worst_sequences, results[0].worst_sequences);
    }
    return results[0];
}

TEST(parity, ranks_and_micro_batches_compute_the_same_step) {
    for (AuxScope scope : {AuxScope::sequence, AuxScope::global}) {
        const ModelConfig model = parity_model(scope, scope == AuxScope::global);
        const StepResult reference = on_ranks(model, 1, kParityGlobalBatch);
        EXPECT_GT(reference.norm, 0);
        for (int ranks : {1, 2, 4, 6})
            for (int64_t micro_batch : {1, 2, 3, 4})
                expect_same_step(
                    on_ranks(model, ranks, micro_batch), reference,
                    fmt::format("{} ranks, micro-batch {}, {}", ranks, micro_batch, to_string(scope)));
    }
}

TEST(parity, worst_sequences_are_those_of_the_whole_step) {
    const ModelConfig model = parity_model(AuxScope::global, false);
    for (int ranks : {1, 2, 4})
        for (int64_t micro_batch : {1, 2, 4, 6}) {
            StepResult result = on_ranks(model, ranks, micro_batch);
            auto& expected = result.sequence_losses;
            std::sort(expected.begin(), expected.end(),
                      [](const SequenceLoss& a, const SequenceLoss& b) { return a.loss > b.loss; });
            const std::string what = fmt::format("{} ranks, micro-batch {}", ranks, micro_batch);
            ASSERT_EQ(result.worst_sequences.size(), Recorder::kNumWorstSequences) << what;
            for (size_t i = 0; i < Recorder::kNumWorstSequences; ++i) {
                EXPECT_GE(expected[i].sample, kParityGlobalBatch) << what; // the second step's
                EXPECT_EQ(result.worst_sequences[i].sample, expected[i].sample) << what;
                // Sums of 24 terms near 3 over matrices of another height: a few hundred roundings at most.
                EXPECT_NEAR(result.worst_sequences[i].loss / expected[i].loss, 1, 1e-13) << what;
            }
        }
}

TEST(parity, a_batch_balanced_as_a_whole_does_not_depend_on_ranks) {
    const ModelConfig model = parity_model(AuxScope::batch, false);
    const StepResult reference = on_ranks(model, 1, kParityGlobalBatch);
    for (int ranks : {2, 3, 6})
        expect_same_step(on_ranks(model, ranks, kParityGlobalBatch / ranks), reference,
                         fmt::format("{} ranks", ranks));
}

TEST(parity, twice_the_same_layout_gives_the_same_bits) {
    const ModelConfig model = parity_model(AuxScope::sequence, false);
    for (int ranks : {1, 2, 4}) {
        const StepResult first = on_ranks(model, ranks, 2), second = on_ranks(model, ranks, 2);
        EXPECT_EQ(first.gradients, second.gradients);
        EXPECT_EQ(first.updates, second.updates);
        EXPECT_EQ(first.loss, second.loss);
    }
}

TEST(parity, recomputation_gives_the_same_bits) {
    const ModelConfig model = parity_model(AuxScope::global, false);
    const StepResult kept = on_ranks(model, 2, 2), recomputed = on_ranks(model, 2, 2, true);
    EXPECT_EQ(kept.gradients, recomputed.gradients);
    EXPECT_EQ(kept.loss, recomputed.loss);
    EXPECT_EQ(kept.aux, recomputed.aux);
}

} // namespace
} // namespace braid::testing

// Every layout of ranks and micro-batches computes the same thing: losses, every parameter's gradient after
// all reductions, gradient norm, updated parameters, router state.

#include <fmt/core.h>
#include <gtest/gtest.h>

#include "parallel/thread_comm.h"
#include "tests/trainer/parity_case.h"

namespace braid::testing {
namespace {

std::vector<LayoutStep> on_ranks(const LayoutCase& run, int ranks, const Layout& layout,
                                 const std::vector<LayoutStep>* reference = nullptr) {
    std::vector<LayoutStep> result;
    run_thread_ranks(ranks, [&](Communicator& comm) {
        auto steps = run_layout(run, layout, comm, reference);
        if (comm.rank() == 0) result = std::move(steps);
    });
    return result;
}

std::vector<LayoutStep> alone(const LayoutCase& run) {
    return on_ranks(run, 1, {.micro_batch = run.global_batch});
}

void expect_parity(const LayoutCase& run, const std::vector<LayoutStep>& reference, int ranks,
                   const Layout& layout) {
    const LayoutDifference worst = compare(on_ranks(run, ranks, layout, &reference), reference);
    EXPECT_LE(worst.error, kParityBound)
        << worst.where << " on " << ranks << " ranks, tensor " << layout.sizes.tensor << ", sequence "
        << layout.sizes.sequence << ", expert " << layout.sizes.expert << ", expert_tensor "
        << layout.sizes.expert_tensor << ", ZeRO " << layout.sharded << ", micro-batch "
        << layout.micro_batch;
}

TEST(parity, data_ranks_and_micro_batches) {
    for (AuxScope scope : {AuxScope::sequence, AuxScope::global}) {
        const LayoutCase run = parity_case(scope, scope == AuxScope::global);
        const auto reference = alone(run);
        EXPECT_GT(reference[1].grad_norm, 0);
        for (int ranks : {1, 2, 4, 6})
            for (int64_t micro_batch : {1, 2, 3, 4})
                for (bool sharded : {false, true})
                    expect_parity(run, reference, ranks, {.sharded = sharded, .micro_batch = micro_batch});
    }
}

TEST(parity, tensor_ranks) {
    for (bool tied : {false, true}) {
        const LayoutCase run = parity_case(AuxScope::sequence, tied);
        const auto reference = alone(run);
        for (bool sequence : {true, false}) {
            expect_parity(run, reference, 2,
                          {.sizes = {.tensor = 2, .sequence = sequence}, .micro_batch = 2});
            expect_parity(run, reference, 4,
                          {.sizes = {.tensor = 2, .sequence = sequence}, .micro_batch = 3});
        }
    }
}

TEST(parity, expert_ranks) {
    const LayoutCase run = parity_case(AuxScope::global, false);
    const auto reference = alone(run);
    for (int expert : {2, 3, 6})
        expect_parity(run, reference, 6, {.sizes = {.expert = expert}, .micro_batch = 1});
    expect_parity(run, reference, 4, {.sizes = {.expert = 2}, .micro_batch = 1}); // 6 sequences on 4 ranks
    expect_parity(run, reference, 5, {.sizes = {.expert_tensor = 5}, .micro_batch = 2});
}

TEST(parity, experts_in_pieces) {
    const LayoutCase run = parity_case(AuxScope::sequence, false);
    const auto reference = alone(run);
    // From one token at a time to more than there are; 24 tokens of a sequence do not divide evenly.
    for (const int64_t piece_tokens : {1, 5, 24, 1000}) {
        const LayoutCase pieces = in_pieces(run, piece_tokens);
        expect_parity(pieces, reference, 1, {.micro_batch = 4});
        expect_parity(pieces, reference, 2, {.sizes = {.expert = 2}, .micro_batch = 2});
        expect_parity(pieces, reference, 4, {.sizes = {.expert = 2}, .micro_batch = 1}); // idle data ranks
        expect_parity(pieces, reference, 5, {.sizes = {.expert_tensor = 5}, .micro_batch = 2});
        expect_parity(pieces, reference, 6, {.sizes = {.tensor = 2, .expert = 6}, .micro_batch = 3});
    }
}

TEST(parity, pieces_and_recomputation_of_layers_go_together) {
    const LayoutCase run = in_pieces(parity_case(AuxScope::sequence, false), 7);
    const Layout layout{.sizes = {.expert = 2}, .micro_batch = 2};
    Layout recomputed = layout;
    recomputed.recompute = true;
    EXPECT_EQ(compare(on_ranks(run, 2, recomputed), on_ranks(run, 2, layout)).error, 0);
    EXPECT_EQ(compare(on_ranks(run, 2, layout), on_ranks(run, 2, layout)).error, 0) << "twice the same";
}

TEST(parity, a_batch_balanced_as_a_whole_does_not_depend_on_ranks) {
    const LayoutCase run = parity_case(AuxScope::batch, false);
    const auto reference = alone(run);
    for (int ranks : {2, 3, 6})
        expect_parity(run, reference, ranks, {.micro_batch = run.global_batch / ranks});
}

TEST(parity, twice_the_same_layout_gives_the_same_bits) {
    const LayoutCase run = parity_case(AuxScope::sequence, false);
    for (int ranks : {1, 2, 4}) {
        const Layout layout{.sizes = {.tensor = ranks > 1 ? 2 : 1, .expert = ranks > 1 ? 2 : 1}};
        EXPECT_EQ(compare(on_ranks(run, ranks, layout), on_ranks(run, ranks, layout)).error, 0);
    }
}

TEST(parity, recomputation_and_sharding_give_the_same_bits) {
    const LayoutCase run = parity_case(AuxScope::global, false);
    const auto kept = on_ranks(run, 2, {.sharded = false, .micro_batch = 2});
    EXPECT_EQ(compare(on_ranks(run, 2, {.sharded = false, .micro_batch = 2, .recompute = true}), kept).error,
              0);
    EXPECT_EQ(compare(on_ranks(run, 2, {.sharded = true, .micro_batch = 2}), kept).error, 0);
}

} // namespace
} // namespace braid::testing

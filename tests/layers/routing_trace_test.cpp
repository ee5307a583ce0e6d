#include "layers/feed_forward/routing_trace.h"

#include "tests/support/testing_context.h"

namespace braid::testing {
namespace {

/// Sequences of three tokens, the first of them sample 10.
DocumentsPtr sequences(int64_t count) {
    auto documents = std::make_shared<Documents>(Documents{{0}, count, 10});
    for (int64_t s = 1; s <= count; ++s) documents->offsets.push_back(static_cast<int32_t>(3 * s));
    return documents;
}

/// [t, 2]: expert i, i + 1 for the i-th token from `first` on.
Tensor counted_experts(Allocator& allocator, int64_t first, int64_t tokens) {
    Tensor expert = Tensor::empty(allocator, {tokens, 2}, DType::i32);
    for (int64_t i = 0; i < 2 * tokens; ++i)
        expert.data<int32_t>()[i] = static_cast<int32_t>(first + i / 2 + i % 2);
    return expert;
}

TEST(routing_trace, finds_the_experts_of_tokens_that_other_ranks_and_micro_batches_hold) {
    Allocator allocator;
    ExpertChoices choices;
    choices.add(1, *sequences(4), 0, counted_experts(allocator, 0, 12));
    // The whole batch; shares that begin and end within sequences; one sample as a micro-batch of its own.
    expect_identical(choices.at(allocator, 1, *sequences(4), 0, {12, 2}), counted_experts(allocator, 0, 12),
                     "all");
    expect_identical(choices.at(allocator, 1, *sequences(4), 4, {5, 2}), counted_experts(allocator, 4, 5),
                     "a share");
    Documents one = *sequences(1);
    one.first_sample = 12;
    expect_identical(choices.at(allocator, 1, one, 1, {2, 2}), counted_experts(allocator, 7, 2), "a sample");
    EXPECT_EQ(choices.at(allocator, 1, {{0}, 0}, 0, {0, 2}).numel(), 0); // an empty micro-batch
}

TEST(routing_trace, refuses_tokens_that_were_not_taken_down) {
    Allocator allocator;
    ExpertChoices choices;
    choices.add(0, *sequences(2), 0, counted_experts(allocator, 0, 4)); // but the last two tokens
    EXPECT_NO_THROW(choices.at(allocator, 0, *sequences(2), 0, {4, 2}));
    EXPECT_THROW(choices.at(allocator, 0, *sequences(2), 0, {5, 2}), InternalError);
    EXPECT_THROW(choices.at(allocator, 1, *sequences(2), 0, {4, 2}), InternalError); // another layer
    EXPECT_THROW(choices.at(allocator, 0, *sequences(2), 0, {4, 3}), InternalError); // more of each
    Documents later = *sequences(1);
    later.first_sample = 12;
    EXPECT_THROW(choices.at(allocator, 0, later, 0, {3, 2}), InternalError);
}

TEST(routing_trace, counts_flips_only_where_experts_are_given) {
    TestContext t;
    t.ctx.documents = sequences(2);
    ops::Routing routing{.expert = counted_experts(t.allocator, 0, 6)};
    RoutingTrace taken;
    EXPECT_FALSE(taken.given_experts(t.ctx, 0, {6, 2}).defined());
    taken.add(t.ctx, 0, routing);
    RoutingTrace given{.given = &taken.taken};
    expect_identical(given.given_experts(t.ctx, 0, {6, 2}), routing.expert, "given");
    routing.num_flips = 2;
    given.add(t.ctx, 0, routing);
    given.add(t.ctx, 0, routing);
    EXPECT_EQ(given.num_choices, 12);
    EXPECT_EQ(given.num_flips, 4);
    EXPECT_THROW(given.taken.at(t.allocator, 0, *t.ctx.documents, 0, {6, 2}), InternalError);
}

} // namespace
} // namespace braid::testing

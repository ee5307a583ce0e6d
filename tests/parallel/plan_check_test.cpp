#include "parallel/plan_check.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <numeric>

#include "base/error.h"
#include "parallel/agreement.h"
#include "parallel/thread_comm.h"

namespace braid::testing {
namespace {

using ::testing::HasSubstr;

PlannedOperation operation(int communicator, std::vector<int> members, std::string what = "all_gather") {
    return {communicator, std::move(members), std::move(what)};
}

TEST(plan_check, plans_that_end) {
    // Rows 0-1 and 2-3, columns 0-2 and 1-3, and the world, in one total order.
    std::vector<RankPlan> plans(4);
    for (int rank = 0; rank < 4; ++rank) {
        const std::vector<int> row = rank < 2 ? std::vector{0, 1} : std::vector{2, 3};
        const std::vector<int> column = {rank % 2, rank % 2 + 2};
        for (int i = 0; i < 3; ++i) {
            plans[static_cast<size_t>(rank)].push_back(operation(1 + rank / 2, row));
            plans[static_cast<size_t>(rank)].push_back(operation(3 + rank % 2, column));
        }
        plans[static_cast<size_t>(rank)].push_back(operation(0, {0, 1, 2, 3}));
    }
    EXPECT_FALSE(find_deadlock(plans));
    EXPECT_FALSE(find_deadlock(std::vector<RankPlan>(3)));
}

TEST(plan_check, a_circle_is_returned_without_what_leads_into_it) {
    // 1, 2 and 3 each wait for the next one's pair; 0 only waits for the circle.
    const std::vector<RankPlan> plans = {
        {operation(9, {0, 1}, "send 0")},
        {operation(1, {1, 2}), operation(3, {1, 3}), operation(9, {0, 1}, "send 0")},
        {operation(2, {2, 3}), operation(1, {1, 2})},
        {operation(3, {1, 3}), operation(2, {2, 3})},
    };
    const auto deadlock = find_deadlock(plans);
    ASSERT_TRUE(deadlock);
    ASSERT_EQ(deadlock->ranks.size(), 3u);
    for (size_t i = 0; i < 3; ++i) {
        const auto& stuck = deadlock->ranks[i];
        EXPECT_EQ(stuck.waits_for, deadlock->ranks[(i + 1) % 3].rank);
        EXPECT_EQ(stuck.position, 0u);
    }
    EXPECT_THAT(deadlock->describe(), HasSubstr("rank 1 at 0 (all_gather, communicator 1) waits for rank 2"));
}

TEST(plan_check, two_groups_in_another_order) {
    const std::vector<RankPlan> plans = {
        {operation(0, {0, 1}, "start"), operation(1, {0, 1}, "data"), operation(2, {0, 1}, "tensor")},
        {operation(0, {0, 1}, "start"), operation(2, {0, 1}, "tensor"), operation(1, {0, 1}, "data")},
    };
    const auto deadlock = find_deadlock(plans);
    ASSERT_TRUE(deadlock);
    EXPECT_EQ(deadlock->describe(),
              "rank 0 at 1 (data, communicator 1) waits for rank 1; "
              "rank 1 at 1 (tensor, communicator 2) waits for rank 0");
}

TEST(plan_check, another_operation_on_one_group_is_no_match) {
    const std::vector<RankPlan> plans = {{operation(0, {0, 1}, "gradients of unit 1")},
                                         {operation(0, {0, 1}, "gradients of unit 2")}};
    EXPECT_TRUE(find_deadlock(plans));
}

TEST(plan_check, a_rank_that_is_done_too_early) {
    const std::vector<RankPlan> plans = {{operation(0, {0, 1, 2}), operation(0, {0, 1, 2})},
                                         {operation(0, {0, 1, 2})},
                                         {operation(0, {0, 1, 2}), operation(0, {0, 1, 2})}};
    const auto deadlock = find_deadlock(plans);
    ASSERT_TRUE(deadlock);
    EXPECT_EQ(deadlock->describe(),
              "rank 0 at 1 (all_gather, communicator 0) waits for rank 1; rank 1 is done after 1");
}

TEST(plan_check, impossible_members_are_refused) {
    for (const std::vector<int>& members : {std::vector<int>{}, {1}, {0, 2}, {1, 0}, {0, 0}, {-1, 0}})
        EXPECT_THROW(find_deadlock(std::vector<RankPlan>{{operation(0, members)}, {}}), InternalError);
}

TEST(plan_check, schedules_of_ranks_with_any_number_of_micro_batches_end) {
    const std::vector<int> units = {0, 1, 1, 2, 2, 2, 3};
    const std::vector<int> micro_batches = {3, 0, 1, 2, 3, 5};
    std::vector<int> members(micro_batches.size());
    std::iota(members.begin(), members.end(), 0);
    std::vector<RankPlan> plans;
    const auto collectives = [](const std::vector<Action>& actions) {
        std::vector<std::string> found;
        for (const Action& action : actions)
            if (std::string collective = collective_of(action); !collective.empty())
                found.push_back(std::move(collective));
        return found;
    };
    const std::vector<std::string> expected = collectives(make_schedule(1, units, {.reduce = true}));
    for (const int count : micro_batches) {
        const auto actions = make_schedule(count, units, {.reduce = true});
        plans.emplace_back();
        for (std::string& collective : collectives(actions))
            plans.back().push_back({0, members, std::move(collective)});
        EXPECT_EQ(plans.back().size(), 8u) << "an all_to_all and an all_gather for each of four units";
        EXPECT_EQ(collectives(actions), expected);
    }
    EXPECT_FALSE(find_deadlock(plans));
    // One rank whose reductions are in another order, or one too few.
    std::vector<RankPlan> broken = plans;
    std::swap(broken[4][2], broken[4][3]);
    EXPECT_TRUE(find_deadlock(broken));
    broken = plans;
    broken[2].pop_back();
    EXPECT_TRUE(find_deadlock(broken));
}

/// Pairs (0, 1) and (2, 3) as group 0, pairs (0, 2) and (1, 3) as group 1.
std::vector<int> pair_of(int group, int rank) {
    const int first = group == 0 ? rank / 2 * 2 : rank % 2;
    return {first, first + (group == 0 ? 1 : 2)};
}

TEST(plan_check, ranks_with_different_programs_agree_where_these_end) {
    // Two stages of two ranks: units 0 and 1 on one, unit 2 on the other, which sends something back at the
    // end.
    run_thread_ranks(4, [](Communicator& world) {
        RankProgram program;
        if (world.rank() < 2) program = {{0, "gradients of unit 0"}, {0, "gradients of unit 1"}};
        if (world.rank() >= 2) program = {{0, "gradients of unit 2"}};
        program.emplace_back(1, "the head's share of unit 0");
        EXPECT_NO_THROW(expect_programs_end(world, program, pair_of));
    });
}

TEST(plan_check, programs_that_do_not_end_are_refused_on_all_ranks) {
    run_thread_ranks(4, [](Communicator& world) {
        RankProgram program = {{0, "a"}, {1, "b"}};
        if (world.rank() == 0 || world.rank() == 3) std::swap(program[0], program[1]); // a circle of four
        try {
            expect_programs_end(world, program, pair_of);
            FAIL() << "no exception on rank " << world.rank();
        } catch (const AgreedError& error) {
            EXPECT_EQ(error.exit_code(), ExitCode::communication);
            EXPECT_THAT(error.what(), HasSubstr("the plans of a step do not fit together: rank "));
            EXPECT_THAT(error.what(), HasSubstr("rank 0 at 0 (b, communicator 4) waits for rank 2"));
        }
    });
}

} // namespace
} // namespace braid::testing

#include "parallel/schedule.h"

#include <gtest/gtest.h>

#include <map>
#include <set>

#include "base/error.h"

namespace braid::testing {
namespace {

using Kind = Action::Kind;

std::vector<Action> reductions_of(const std::vector<Action>& actions) {
    std::vector<Action> result;
    for (const Action& action : actions)
        if (action.kind != Kind::forward && action.kind != Kind::backward) result.push_back(action);
    return result;
}

TEST(schedule, every_segment_runs_once_each_way) {
    const std::vector<int> units = {0, 1, 1, 1, 2, 3};
    for (bool reduce : {false, true})
        for (int micro_batches : {1, 2, 4}) {
            std::map<std::pair<int, int>, int> forward, backward;
            for (const Action& action : make_schedule(micro_batches, units, reduce))
                for (int s = action.first; s < action.last; ++s) {
                    if (action.kind == Kind::forward) ++forward[{action.micro_batch, s}];
                    if (action.kind == Kind::backward) ++backward[{action.micro_batch, s}];
                }
            EXPECT_EQ(forward.size(), units.size() * static_cast<size_t>(micro_batches));
            EXPECT_EQ(forward, backward);
            for (const auto& [key, count] : forward) EXPECT_EQ(count, 1);
        }
}

TEST(schedule, a_unit_is_reduced_after_its_last_backward) {
    const std::vector<int> units = {0, 1, 1, 2};
    std::map<int, int> segments_left = {{0, 1}, {1, 2}, {2, 1}};
    std::map<int, Kind> state;
    for (const Action& action : make_schedule(3, units, true)) {
        if (action.kind == Kind::backward && action.micro_batch == 2)
            for (int s = action.first; s < action.last; ++s) --segments_left[units[static_cast<size_t>(s)]];
        if (action.kind == Kind::reduce_start) EXPECT_EQ(segments_left[action.unit], 0) << action.unit;
        if (action.kind == Kind::reduce_add) EXPECT_EQ(state[action.unit], Kind::reduce_start);
        if (action.kind == Kind::reduce_finish) EXPECT_EQ(state[action.unit], Kind::reduce_add);
        if (action.kind >= Kind::reduce_start) state[action.unit] = action.kind;
    }
    EXPECT_EQ(state.size(), 3u);
    for (const auto& [unit, kind] : state) EXPECT_EQ(kind, Kind::reduce_finish) << unit;
}

TEST(schedule, ranks_with_other_numbers_of_micro_batches_reduce_in_one_order) {
    const std::vector<int> units = {0, 1, 2, 2, 3};
    const auto expected = reductions_of(make_schedule(4, units, true));
    EXPECT_EQ(expected.size(), 12u);
    for (int micro_batches : {0, 1, 3})
        EXPECT_EQ(reductions_of(make_schedule(micro_batches, units, true)), expected);
}

TEST(schedule, units_out_of_order_are_refused) {
    const std::vector<int> units = {1, 0, 1};
    EXPECT_THROW(make_schedule(1, units, true), InternalError);
}

} // namespace
} // namespace braid::testing

#include "parallel/schedule.h"

#include <gtest/gtest.h>

#include <map>
#include <set>

#include "base/error.h"

namespace braid::testing {
namespace {

using Kind = Action::Kind;

std::vector<Action> communication_in(const std::vector<Action>& actions) {
    std::vector<Action> result;
    for (const Action& action : actions)
        if (action.kind >= Kind::reduce_start) result.push_back(action);
    return result;
}

TEST(schedule, every_segment_runs_once_each_way) {
    const std::vector<int> units = {0, 1, 1, 1, 2, 3};
    for (const Sharing& sharing : {Sharing{}, Sharing{.reduce = true}, Sharing{true, true}})
        for (int micro_batches : {1, 2, 4}) {
            std::map<std::pair<int, int>, int> forward, backward;
            for (const Action& action : make_schedule(micro_batches, units, sharing))
                for (int s = action.first; s < action.last; ++s) {
                    if (action.kind == Kind::forward) ++forward[{action.micro_batch, s}];
                    if (action.kind == Kind::backward) ++backward[{action.micro_batch, s}];
                }
            EXPECT_EQ(forward.size(), units.size() * static_cast<size_t>(micro_batches));
            EXPECT_EQ(forward, backward);
            for (const auto& [key, count] : forward) EXPECT_EQ(count, 1);
        }
}

TEST(schedule, a_micro_batch_runs_between_its_begin_and_its_end) {
    const std::vector<int> units = {0, 1, 1, 2};
    for (const Sharing& sharing : {Sharing{}, Sharing{.reduce = true}, Sharing{true, true}})
        for (int micro_batches : {0, 1, 3}) {
            std::set<int> in_flight, ended;
            for (const Action& action : make_schedule(micro_batches, units, sharing)) {
                const int m = action.micro_batch;
                if (action.kind == Kind::begin) {
                    EXPECT_TRUE(in_flight.insert(m).second && !ended.contains(m));
                }
                if (action.kind == Kind::forward || action.kind == Kind::backward) {
                    EXPECT_TRUE(in_flight.contains(m)) << m;
                }
                if (action.kind == Kind::end) {
                    EXPECT_TRUE(in_flight.erase(m) == 1 && ended.insert(m).second);
                }
            }
            EXPECT_TRUE(in_flight.empty());
            EXPECT_EQ(ended.size(), static_cast<size_t>(micro_batches));
        }
}

TEST(schedule, a_unit_is_reduced_after_its_last_backward) {
    const std::vector<int> units = {0, 1, 1, 2};
    std::map<int, int> segments_left = {{0, 1}, {1, 2}, {2, 1}};
    std::map<int, Kind> state;
    for (const Action& action : make_schedule(3, units, {.reduce = true})) {
        if (action.kind == Kind::backward && action.micro_batch == 2)
            for (int s = action.first; s < action.last; ++s) --segments_left[units[static_cast<size_t>(s)]];
        if (action.kind == Kind::reduce_start) {
            EXPECT_EQ(segments_left[action.unit], 0) << action.unit;
        }
        if (action.kind == Kind::reduce_add) {
            EXPECT_EQ(state[action.unit], Kind::reduce_start);
        }
        if (action.kind == Kind::reduce_finish) {
            EXPECT_EQ(state[action.unit], Kind::reduce_add);
        }
        if (action.kind >= Kind::reduce_start && action.kind <= Kind::reduce_finish)
            state[action.unit] = action.kind;
    }
    EXPECT_EQ(state.size(), 3u);
    for (const auto& [unit, kind] : state) EXPECT_EQ(kind, Kind::reduce_finish) << unit;
}

TEST(schedule, ranks_with_other_numbers_of_micro_batches_communicate_in_one_order) {
    const std::vector<int> units = {0, 1, 2, 2, 3};
    for (const bool gather : {false, true}) {
        const Sharing sharing{.reduce = true, .gather = gather};
        const auto expected = communication_in(make_schedule(4, units, sharing));
        EXPECT_EQ(expected.size(), gather ? 16u : 12u);
        for (int micro_batches : {0, 1, 3})
            EXPECT_EQ(communication_in(make_schedule(micro_batches, units, sharing)), expected);
    }
}

TEST(schedule, values_of_the_last_update_are_awaited_by_the_first_forward_that_reads_them) {
    const std::vector<int> units = {0, 1, 1, 2};
    std::set<int> in_place;
    for (const Action& action : make_schedule(2, units, {.reduce = true, .gather = true})) {
        if (action.kind == Kind::all_gather_finish) {
            EXPECT_TRUE(in_place.insert(action.unit).second) << action.unit;
            for (int unit = 0; unit < action.unit; ++unit) EXPECT_TRUE(in_place.contains(unit));
        }
        if (action.kind == Kind::forward) {
            for (int s = action.first; s < action.last; ++s)
                EXPECT_TRUE(in_place.contains(units[static_cast<size_t>(s)])) << s;
        }
        // The first unit's forward runs while the others' values travel.
        if (action.kind == Kind::forward && action.first == 0 && action.micro_batch == 0) {
            EXPECT_EQ(in_place, std::set<int>{0});
        }
    }
    EXPECT_EQ(in_place, (std::set<int>{0, 1, 2}));
}

TEST(schedule, each_unit_is_handed_out_after_its_update) {
    std::vector<std::pair<Kind, int>> expected, found;
    for (int unit = 0; unit < 3; ++unit) {
        expected.emplace_back(Kind::update, unit);
        expected.emplace_back(Kind::all_gather_start, unit);
    }
    for (const Action& action : make_update_schedule(3, {.reduce = true, .gather = true}))
        found.emplace_back(action.kind, action.unit);
    EXPECT_EQ(found, expected);
    EXPECT_EQ(make_update_schedule(3, {}).size(), 3u);
}

TEST(schedule, units_out_of_order_are_refused) {
    const std::vector<int> units = {1, 0, 1};
    EXPECT_THROW(make_schedule(1, units, {.reduce = true}), InternalError);
}

} // namespace
} // namespace braid::testing

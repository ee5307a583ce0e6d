#include "trainer/checkpoint_box.h"

#include <gtest/gtest.h>

#include <set>

#include "base/error.h"

namespace braid {
namespace {

TEST(checkpoint_box, intersection_of_boxes) {
    const Box a{{0, 2}, {4, 4}}, b{{3, 0}, {2, 3}};
    EXPECT_EQ(intersection(a, b), (Box{{3, 2}, {1, 1}}));
    EXPECT_EQ(intersection(a, (Box{{4, 2}, {1, 1}})), std::nullopt);
    EXPECT_EQ(intersection(Box{}, Box{}), Box{}); // scalars
}

TEST(checkpoint_box, lies_within_knows_edges_and_overflow) {
    const Shape shape{4, 6};
    EXPECT_TRUE(lies_within({{0, 0}, {4, 6}}, shape));
    EXPECT_TRUE(lies_within({{3, 5}, {1, 1}}, shape));
    EXPECT_TRUE(lies_within({{}, {}}, Shape{}));
    EXPECT_FALSE(lies_within({{0}, {4}}, shape));
    EXPECT_FALSE(lies_within({{0, 0}, {4, 0}}, shape));
    EXPECT_FALSE(lies_within({{0, 1}, {4, 6}}, shape));
    EXPECT_FALSE(lies_within({{-1, 0}, {4, 6}}, shape));
    EXPECT_FALSE(lies_within({{INT64_MAX, 0}, {INT64_MAX, 6}}, shape));
}

// Every element of the part is visited once, at its place in both boxes.
TEST(checkpoint_box, runs_visit_every_element_once) {
    const Box a{{1, 0, 2}, {4, 5, 6}}, b{{0, 2, 0}, {4, 3, 8}};
    const Box part = *intersection(a, b);
    const auto position_in = [](const Box& box, int64_t index) {
        std::vector<int64_t> position(3);
        for (size_t d = 3; d-- > 0;) {
            position[d] = box.offset[d] + index % box.extent[d];
            index /= box.extent[d];
        }
        return position;
    };
    std::set<std::vector<int64_t>> seen;
    int64_t last = -1;
    for_each_run(part, a, b, [&](int64_t from, int64_t to, int64_t count) {
        EXPECT_GT(from, last);
        last = from;
        for (int64_t i = 0; i < count; ++i) {
            EXPECT_EQ(position_in(a, from + i), position_in(b, to + i));
            EXPECT_TRUE(seen.insert(position_in(a, from + i)).second);
        }
    });
    EXPECT_EQ(static_cast<int64_t>(seen.size()), part.numel());
}

TEST(checkpoint_box, equal_boxes_are_one_run) {
    const Box box{{2, 3}, {4, 5}};
    int num_runs = 0;
    for_each_run(box, box, box, [&](int64_t from, int64_t to, int64_t count) {
        ++num_runs;
        EXPECT_EQ(from, 0);
        EXPECT_EQ(to, 0);
        EXPECT_EQ(count, 20);
    });
    EXPECT_EQ(num_runs, 1);
}

TEST(checkpoint_box, splitting_covers_the_shape_in_order) {
    for (const int64_t limit : {1, 2, 3, 7, 8, 23, 24, 1000}) {
        const Shape shape{3, 2, 4};
        int64_t next = 0;
        for (const Box& box : split_into_boxes(shape, limit)) {
            EXPECT_LE(box.numel(), limit);
            for_each_run(box, whole_box(shape), box, [&](int64_t from, int64_t, int64_t count) {
                EXPECT_EQ(from, next);
                next = from + count;
            });
        }
        EXPECT_EQ(next, 24) << "limit " << limit;
    }
    EXPECT_EQ(split_into_boxes(Shape{}, 5).size(), 1u);
}

} // namespace
} // namespace braid

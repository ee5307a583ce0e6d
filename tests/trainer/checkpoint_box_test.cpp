#include "trainer/checkpoint/checkpoint_box.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>
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

bool covers(const std::vector<Box>& boxes, const Shape& shape) {
    std::vector<const Box*> pointers;
    for (const Box& box : boxes) pointers.push_back(&box);
    return cover_once(pointers, shape);
}

TEST(checkpoint_box, a_cover_holds_every_element_once) {
    EXPECT_TRUE(covers({Box{}}, Shape{}));
    EXPECT_FALSE(covers({}, Shape{}));
    EXPECT_FALSE(covers({Box{}, Box{}}, Shape{}));
    EXPECT_FALSE(covers({}, {3, 3}));
    EXPECT_TRUE(covers({{{0, 0}, {3, 3}}}, {3, 3}));
    // A pinwheel, which no cut through the whole takes apart, and five boxes of its sizes that overlap.
    std::vector<Box> pinwheel{
        {{0, 0}, {1, 2}}, {{0, 2}, {2, 1}}, {{2, 1}, {1, 2}}, {{1, 0}, {2, 1}}, {{1, 1}, {1, 1}}};
    EXPECT_TRUE(covers(pinwheel, {3, 3}));
    pinwheel[4].offset = {0, 1};
    EXPECT_FALSE(covers(pinwheel, {3, 3}));
    // Twice one half and never the other, in each dimension.
    EXPECT_FALSE(covers({{{0, 0}, {1, 2}}, {{0, 0}, {1, 2}}}, {2, 2}));
    EXPECT_FALSE(covers({{{0, 1}, {2, 1}}, {{0, 1}, {2, 1}}}, {2, 2}));
}

TEST(checkpoint_box, a_cover_of_random_boxes_is_what_counting_says) {
    std::mt19937 random(20240607);
    const Shape shape{3, 2, 4};
    int covers_found = 0;
    for (int i = 0; i < 3000; ++i) {
        // Cut a box in two again and again; then, often, move one.
        std::vector<Box> boxes{whole_box(shape)};
        for (int cut = 0; cut < 6; ++cut) {
            Box& box = boxes[random() % boxes.size()];
            const size_t d = random() % 3;
            if (box.extent[d] == 1) continue;
            Box rest = box;
            box.extent[d] = 1 + static_cast<int64_t>(random() % static_cast<uint64_t>(box.extent[d] - 1));
            rest.offset[d] += box.extent[d];
            rest.extent[d] -= box.extent[d];
            boxes.push_back(rest);
        }
        Box& moved = boxes[random() % boxes.size()];
        const size_t d = random() % 3;
        if (random() % 2) moved.offset[d] = static_cast<int64_t>(random() % 4);
        if (!lies_within(moved, shape)) continue;
        std::map<std::vector<int64_t>, int> counts;
        for (const Box& box : boxes)
            for (int64_t index = 0; index < box.numel(); ++index) {
                const int64_t k = index % box.extent[2], j = index / box.extent[2] % box.extent[1];
                ++counts[{box.offset[0] + index / box.extent[2] / box.extent[1], box.offset[1] + j,
                          box.offset[2] + k}];
            }
        const bool once = static_cast<int64_t>(counts.size()) == shape.numel() &&
                          std::all_of(counts.begin(), counts.end(), [](auto& c) { return c.second == 1; });
        covers_found += once;
        ASSERT_EQ(covers(boxes, shape), once) << "draw " << i;
    }
    EXPECT_GT(covers_found, 500);
    EXPECT_LT(covers_found, 2500);
}

// Comparing each box with each other one would take minutes.
TEST(checkpoint_box, two_hundred_thousand_boxes_are_checked_at_once) {
    constexpr int64_t kBoxes = 200'000;
    for (size_t along = 0; along < 3; ++along) {
        std::vector<int64_t> sizes{2, 3, 2};
        sizes[along] = kBoxes;
        std::vector<Box> boxes;
        for (int64_t i = 0; i < kBoxes; ++i) {
            Box box{{0, 0, 0}, sizes};
            box.offset[along] = i;
            box.extent[along] = 1;
            boxes.push_back(box);
        }
        EXPECT_TRUE(covers(boxes, Shape(sizes))) << along;
        boxes[7].offset[along] = 8;
        EXPECT_FALSE(covers(boxes, Shape(sizes))) << along;
        // All at one place, as a forged manifest may say.
        for (Box& box : boxes) box.offset[along] = 0;
        EXPECT_FALSE(covers(boxes, Shape(sizes))) << along;
    }
    // Stripes that all overlap in dimension 0, each shorter than the one before it.
    std::vector<Box> stripes;
    for (int64_t i = 0; i < kBoxes; ++i) {
        stripes.push_back({{0, i}, {kBoxes + 1 - i, 1}});
        if (i > 0) stripes.push_back({{kBoxes + 1 - i, i}, {i, 1}});
    }
    EXPECT_TRUE(covers(stripes, {kBoxes + 1, kBoxes}));
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

// What every rank holds of a tensor, against an element by element reading of the splits.

#include "tensor/parameters/partition.h"

#include <fmt/core.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "base/error.h"

namespace braid {
namespace {

struct Case {
    Shape shape;
    std::vector<Split> splits;
    int tensor = 1, expert = 1, expert_tensor = 1;
};

// Dimensions whole and split, even and uneven, by indices and by heads, in one and in several ranges, more
// ranks than parts, two axes at once.
const std::vector<Case> kCases = {
    {{3, 4}, {}, 2},
    {{7}, {{.dim = 0}}, 3},
    {{6, 2}, {{.dim = 0}}, 2},
    {{5, 3}, {{.dim = 0}}, 2},
    {{4, 5}, {{.dim = 1}}, 3},
    {{2, 3, 4}, {{.dim = 1}}, 2},
    {{12, 2}, {{.dim = 0, .parts = 3}}, 2},
    {{8, 3}, {{.dim = 0, .parts = 2}}, 4},
    {{2, 6}, {{.dim = 1, .parts = 3}}, 6},
    {{3}, {{.dim = 0, .parts = 1}}, 3},
    {{8, 2}, {{.dim = 0, .ranges = 2}}, 2},
    {{10, 2}, {{.dim = 0, .ranges = 2}}, 3},
    {{3, 12}, {{.dim = 1, .parts = 3, .ranges = 2}}, 2},
    {{2, 12}, {{.dim = 1, .parts = 2, .ranges = 3}}, 4},
    {{4, 6, 2},
     {{.dim = 0, .axis = Axis::expert}, {.dim = 1, .axis = Axis::expert_tensor, .ranges = 2}},
     1,
     2,
     3},
    {{3, 2, 5}, {{.dim = 0, .axis = Axis::expert}, {.dim = 2, .axis = Axis::expert_tensor}}, 1, 3, 2},
    {{6, 6}, {{.dim = 0, .ranges = 2}, {.dim = 1, .axis = Axis::expert, .ranges = 3}}, 2, 2},
};

/// Every place on the axes of a case.
std::vector<RankGrid> grids(const Case& c) {
    std::vector<RankGrid> result;
    for (int t = 0; t < c.tensor; ++t)
        for (int e = 0; e < c.expert; ++e)
            for (int p = 0; p < c.expert_tensor; ++p) {
                RankGrid grid;
                grid.tensor = {c.tensor, t};
                grid.expert = {c.expert, e};
                grid.expert_tensor = {c.expert_tensor, p};
                result.push_back(grid);
            }
    return result;
}

std::string describe(const Case& c, const RankGrid& grid) {
    return fmt::format("{} on tensor {} of {}, expert {} of {}, expert_tensor {} of {}", to_string(c.shape),
                       grid.tensor.index, grid.tensor.size, grid.expert.index, grid.expert.size,
                       grid.expert_tensor.index, grid.expert_tensor.size);
}

std::vector<int64_t> coordinates(const Shape& shape, int64_t index) {
    std::vector<int64_t> result(static_cast<size_t>(shape.rank()));
    for (int d = shape.rank() - 1; d >= 0; --d) {
        result[static_cast<size_t>(d)] = index % shape[d];
        index /= shape[d];
    }
    return result;
}

int64_t index_of(const Shape& shape, const std::vector<int64_t>& coordinates) {
    int64_t index = 0;
    for (int d = 0; d < shape.rank(); ++d) index = index * shape[d] + coordinates[static_cast<size_t>(d)];
    return index;
}

/// Whether the rank holds this index of a split dimension: its part, counted in its range, is among those of
/// the rank's share. Part p of n belongs to the last of s sharers that starts at or before it.
bool holds(const Split& split, int64_t length, int64_t index, const RankGrid::Place& place) {
    const int64_t range = length / split.ranges, parts = split.parts > 0 ? split.parts : range;
    const int64_t part = index % range / (range / parts);
    const int64_t sharers = std::min<int64_t>(parts, place.size), copies = place.size / sharers;
    int64_t owner = 0;
    for (int64_t s = 0; s < sharers; ++s)
        if (parts * s / sharers <= part) owner = s;
    return place.index / copies == owner;
}

/// The global indices of the elements a rank holds; in its packed memory they follow each other in this
/// order.
std::vector<int64_t> held(const Case& c, const RankGrid& grid) {
    std::vector<int64_t> result;
    for (int64_t i = 0; i < c.shape.numel(); ++i) {
        const std::vector<int64_t> at = coordinates(c.shape, i);
        bool here = true;
        for (const Split& split : c.splits)
            here &= holds(split, c.shape[split.dim], at[static_cast<size_t>(split.dim)], grid[split.axis]);
        if (here) result.push_back(i);
    }
    return result;
}

TEST(partition, runs_give_every_local_element_its_global_index) {
    for (const Case& c : kCases)
        for (const RankGrid& grid : grids(c)) {
            const Partition partition(c.shape, c.splits, grid);
            std::vector<int64_t> found;
            int64_t previous_end = -1;
            partition.for_each_run([&](int64_t local, int64_t global, int64_t count) {
                EXPECT_EQ(local, static_cast<int64_t>(found.size())) << describe(c, grid);
                EXPECT_GT(count, 0) << describe(c, grid);
                EXPECT_NE(global, previous_end) << "two runs that are one, " << describe(c, grid);
                previous_end = global + count;
                for (int64_t i = 0; i < count; ++i) found.push_back(global + i);
            });
            EXPECT_EQ(found, held(c, grid)) << describe(c, grid);
            EXPECT_EQ(partition.local().numel(), static_cast<int64_t>(found.size())) << describe(c, grid);
            EXPECT_EQ(partition.global(), c.shape);
            if (!found.empty()) {
                EXPECT_EQ(partition.first_row(), coordinates(c.shape, found[0])[0]) << describe(c, grid);
            }
        }
}

TEST(partition, all_ranks_hold_every_element_as_often_as_it_has_replicas) {
    for (const Case& c : kCases) {
        std::vector<int64_t> copies(static_cast<size_t>(c.shape.numel()), 0);
        int64_t expected = 1;
        for (const RankGrid& grid : grids(c)) {
            const Partition partition(c.shape, c.splits, grid);
            partition.for_each_run([&](int64_t, int64_t global, int64_t count) {
                for (int64_t i = 0; i < count; ++i) ++copies[static_cast<size_t>(global + i)];
            });
            expected = partition.tensor_replicas();
        }
        for (const Axis axis :
             {Axis::expert, Axis::expert_tensor}) // those that split nothing hold copies too
            if (std::none_of(c.splits.begin(), c.splits.end(),
                             [&](const Split& split) { return split.axis == axis; }))
                expected *= grids(c)[0][axis].size;
        EXPECT_EQ(copies, std::vector<int64_t>(copies.size(), expected)) << to_string(c.shape);
    }
}

TEST(partition, regions_of_any_range_are_its_elements) {
    for (const Case& c : kCases)
        for (const RankGrid& grid : grids(c)) {
            const Partition partition(c.shape, c.splits, grid);
            const std::vector<int64_t> expected = held(c, grid);
            const int64_t count = partition.local().numel();
            for (int64_t first = 0; first <= count; ++first)
                for (int64_t last = first; last <= count; ++last) {
                    std::vector<int64_t> found(expected.size(), -1);
                    int64_t previous = -1;
                    for (const Partition::Region& region : partition.regions(first, last)) {
                        const Shape extent(region.extent);
                        const int64_t start = index_of(partition.local(), region.local_offset);
                        EXPECT_GT(start, previous) << describe(c, grid);
                        previous = start;
                        EXPECT_GT(extent.numel(), 0) << describe(c, grid);
                        for (int64_t i = 0; i < extent.numel(); ++i) {
                            std::vector<int64_t> local = coordinates(extent, i), global = local;
                            for (size_t d = 0; d < local.size(); ++d) {
                                local[d] += region.local_offset[d];
                                global[d] += region.global_offset[d];
                            }
                            int64_t& element =
                                found.at(static_cast<size_t>(index_of(partition.local(), local)));
                            EXPECT_EQ(element, -1) << "in two regions, " << describe(c, grid);
                            element = index_of(c.shape, global);
                        }
                    }
                    std::vector<int64_t> wanted(expected.size(), -1);
                    std::copy(expected.begin() + first, expected.begin() + last, wanted.begin() + first);
                    ASSERT_EQ(found, wanted) << first << " to " << last << ", " << describe(c, grid);
                }
        }
}

TEST(partition, the_whole_of_a_tensor_in_one_range_is_one_region) {
    for (const Case& c : kCases)
        for (const RankGrid& grid : grids(c)) {
            const Partition partition(c.shape, c.splits, grid);
            size_t expected = 1;
            for (const Split& split : c.splits) expected *= static_cast<size_t>(split.ranges);
            EXPECT_EQ(partition.regions().size(), expected) << describe(c, grid);
        }
}

TEST(partition, shares_differ_by_one_part_at_most) {
    for (const int64_t rows : {5, 6, 7, 256})
        for (const int size : {1, 2, 3, 4}) {
            for (int index = 0; index < size; ++index) {
                RankGrid grid;
                grid.tensor = {size, index};
                const int64_t share = Partition({rows, 3}, {{.dim = 0}}, grid).local()[0];
                EXPECT_GE(share, rows / size);
                EXPECT_LE(share, (rows + size - 1) / size);
            }
        }
}

TEST(partition, what_does_not_divide_is_refused) {
    RankGrid grid;
    grid.tensor = {4, 1};
    grid.expert = {4, 1};
    EXPECT_THROW(Partition({12, 2}, {{.dim = 0, .parts = 3}}, grid), InternalError); // 3 heads on 4 ranks
    EXPECT_THROW(Partition({9, 2}, {{.dim = 0, .parts = 2}}, grid), InternalError);  // 4.5 rows a head
    EXPECT_THROW(Partition({9, 2}, {{.dim = 0, .ranges = 2}}, grid), InternalError);
    EXPECT_THROW(Partition({8, 8}, {{.dim = 0}, {.dim = 0, .axis = Axis::expert}}, grid), InternalError);
    // Two experts on four ranks would be copies that no reduction group knows of.
    EXPECT_THROW(Partition({2, 8}, {{.dim = 0, .axis = Axis::expert}}, grid), InternalError);
}

} // namespace
} // namespace braid

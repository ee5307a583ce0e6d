#include "parallel/mesh.h"

#include <gtest/gtest.h>

#include <map>
#include <vector>

#include "base/error.h"
#include "parallel/collectives.h"
#include "parallel/thread_comm.h"

namespace braid {
namespace {

TEST(mesh, both_views_hold_every_rank_once_with_neighbours_on_the_last_axis) {
    const ParallelConfig sizes{.tensor = 4, .expert = 3, .expert_tensor = 2};
    std::map<std::vector<int>, int> dense, experts;
    for (int rank = 0; rank < 12; ++rank) {
        const RankGrid grid = make_grid(sizes, 12, rank);
        EXPECT_EQ(grid.num_ranks(), 12);
        EXPECT_EQ(grid.data.size * grid.tensor.size,
                  grid.expert_data.size * grid.expert.size * grid.expert_tensor.size);
        ++dense[{grid.data.index, grid.tensor.index}];
        ++experts[{grid.expert_data.index, grid.expert.index, grid.expert_tensor.index}];
        EXPECT_EQ(grid.tensor.index, rank % 4);
        EXPECT_EQ(grid.expert_tensor.index, rank % 2);
        EXPECT_EQ(grid.rank_at(grid.expert_data.index, grid.expert.index, grid.expert_tensor.index), rank);
    }
    EXPECT_EQ(dense.size(), 12U);
    EXPECT_EQ(experts.size(), 12U);
}

TEST(mesh, groups_hold_the_ranks_that_share_a_parameter) {
    run_thread_ranks(8, [](Communicator& world) {
        Mesh mesh(world, {.tensor = 4, .expert = 2});
        const auto members = [&](Communicator& comm) {
            std::vector<int64_t> ranks(static_cast<size_t>(comm.size()), 0);
            ranks[static_cast<size_t>(comm.rank())] = world.rank();
            all_reduce_sum(comm, std::span(ranks));
            return ranks;
        };
        const int rank = world.rank(), left = rank % 4;
        EXPECT_EQ(members(mesh.axis(Axis::data)), (std::vector<int64_t>{left, left + 4}));
        const int first = rank / 4 * 4;
        EXPECT_EQ(members(mesh.axis(Axis::tensor)),
                  (std::vector<int64_t>{first, first + 1, first + 2, first + 3}));
        EXPECT_EQ(members(mesh.axis(Axis::expert)), (std::vector<int64_t>{rank / 2 * 2, rank / 2 * 2 + 1}));
        const int odd = rank % 2;
        EXPECT_EQ(members(mesh.axis(Axis::expert_data)),
                  (std::vector<int64_t>{odd, odd + 2, odd + 4, odd + 6}));
        const ReductionGroup pairs{false, 2}; // two tensor ranks hold the same key/value heads
        mesh.prepare(pairs);
        const int pair = left / 2 * 2;
        EXPECT_EQ(members(mesh.group(pairs)), (std::vector<int64_t>{pair, pair + 1, pair + 4, pair + 5}));
        for (const ReductionGroup& group : {pairs, ReductionGroup{}, ReductionGroup{.expert = true}}) {
            const std::vector<int> known = mesh.members(group, rank);
            EXPECT_EQ(members(mesh.group(group)), std::vector<int64_t>(known.begin(), known.end()));
        }
        EXPECT_EQ(mesh.group(pairs).rank(), mesh.grid().place_in(pairs).index);
        EXPECT_EQ(mesh.group(pairs).size(), mesh.grid().place_in(pairs).size);
    });
}

TEST(mesh, sizes_that_do_not_divide_are_refused_with_those_that_do) {
    try {
        make_grid({.tensor = 4}, 6, 0);
        FAIL() << "no exception";
    } catch (const Error& error) {
        EXPECT_EQ(error.exit_code(), ExitCode::usage);
        EXPECT_STREQ(
            error.what(),
            "parallel.tensor: 4 does not divide the 6 ranks of this job; expected one of 1, 2, 3, 6, or a "
            "number of ranks that is a multiple of 4");
    }
    EXPECT_THROW(make_grid({.expert = 2, .expert_tensor = 2}, 6, 0), ConfigError);
    EXPECT_THROW(make_grid({.expert = 65536, .expert_tensor = 65536}, 6, 0), ConfigError); // 0 in 32 bits
}

} // namespace
} // namespace braid

// The MPI communicator does what tests/parallel expects of the others.

#include "parallel/communicator.h"

#include <gtest/gtest.h>

#include "parallel/agreement.h"
#include "parallel/collectives.h"
#include "parallel/mpi_comm.h"
#include "tests/parallel/communicator_case.h"

namespace braid::testing {
namespace {

TEST(communicator, all_to_all_moves_every_piece) {
    const auto world = mpi_communicator(MPI_COMM_WORLD);
    for (int repetition = 0; repetition < 20; ++repetition) exercise_all_to_all(*world);
}

TEST(communicator, large_messages_arrive_whole) {
    const auto world = mpi_communicator(MPI_COMM_WORLD);
    const std::vector<double> mine(1 << 20, world->rank()); // 8 MiB: beyond any eager limit
    std::vector<double> all(mine.size() * static_cast<size_t>(world->size()));
    const std::vector<int64_t> bytes(static_cast<size_t>(world->size()), 8 << 20);
    world->all_gather(mine.data(), all.data(), bytes)->wait();
    for (size_t i = 0; i < all.size(); i += 4097) EXPECT_EQ(all[i], static_cast<double>(i >> 20));
}

TEST(communicator, split_ranks_by_key) {
    const auto world = mpi_communicator(MPI_COMM_WORLD);
    const auto part = world->split(world->rank() % 2, -world->rank(), "half");
    const int members = (world->size() + 1 - world->rank() % 2) / 2;
    EXPECT_EQ(part->size(), members);
    EXPECT_EQ(part->rank(), members - 1 - world->rank() / 2);
}

TEST(communicator, agreement_reaches_all) {
    const auto world = mpi_communicator(MPI_COMM_WORLD);
    EXPECT_THROW(agree(*world,
                       [&] {
                           if (world->rank() == world->size() - 1) throw DataError("cut");
                       }),
                 AgreedError);
    agree(*world, [] {});
}

} // namespace
} // namespace braid::testing

// The MPI communicator does what tests/parallel expects of the others.

#include "parallel/communicator.h"

#include <gtest/gtest.h>

#include <numeric>

#include "base/error.h"
#include "parallel/agreement.h"
#include "parallel/collectives.h"
#include "parallel/mpi_comm.h"
#include "tests/parallel/communicator_case.h"

namespace braid::testing {
namespace {

TEST(communicator, all_to_all_moves_every_part) {
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

TEST(communicator, sums_of_the_library) {
    const auto world = mpi_communicator(MPI_COMM_WORLD);
    std::vector<double> values(1000, world->rank() + 1);
    const auto pending = world->all_reduce_any_order(values.data(), 1000, DType::f64);
    while (!pending->wait_for(std::chrono::milliseconds(1))) {
    }
    EXPECT_TRUE(pending->missing().empty());
    for (double value : values) EXPECT_EQ(value, world->size() * (world->size() + 1) / 2);
}

TEST(communicator, a_part_of_another_size_is_refused) {
    const auto world = mpi_communicator(MPI_COMM_WORLD);
    // Rank 0 takes its part for half of what the others do. A message that is too short is no error to MPI.
    std::vector<int64_t> bytes(static_cast<size_t>(world->size()), 8);
    if (world->rank() == 0) bytes[0] = 4;
    std::vector<int64_t> mine(1), all(bytes.size());
    const auto pending = world->all_gather(mine.data(), all.data(), bytes);
    if (world->rank() == 0)
        pending->wait();
    else
        EXPECT_THROW(pending->wait(), CommError);
}

TEST(communicator, ranks_that_do_different_things_miss_each_other) {
    const auto world = mpi_communicator(MPI_COMM_WORLD), other = mpi_communicator(MPI_COMM_WORLD);
    if (world->size() == 1) return; // nobody to miss
    world->set_operation(world->rank() == 0 ? 0 : 1);
    const std::vector<int64_t> bytes(static_cast<size_t>(world->size()), 8);
    std::vector<int64_t> mine(1), first(bytes.size()), second(bytes.size());
    const auto pending = world->all_gather(mine.data(), first.data(), bytes);
    barrier(*other);
    std::vector<int> expected = {0};
    if (world->rank() == 0) {
        expected.resize(bytes.size() - 1);
        std::iota(expected.begin(), expected.end(), 1);
    }
    while (pending->missing() != expected) {
    } // messages that do match are on their way
    EXPECT_FALSE(pending->wait_for(std::chrono::milliseconds(20)));
    barrier(*other); // what follows does match
    // The tag is made of sequence ^ operation, so the second collective of each side is the first of the
    // other: nothing is left for MPI_Finalize to trip over.
    const auto next = world->all_gather(mine.data(), second.data(), bytes);
    pending->wait();
    next->wait();
    EXPECT_TRUE(pending->missing().empty());
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

// Random models in random layouts, with processes as ranks. A case that fails prints its seed; to run it
// alone: the same command of ctest with BRAID_LAYOUT_SEED=SEED.

#include <gtest/gtest.h>

#include <chrono>
#include <cstdlib>

#include "parallel/collectives.h"
#include "parallel/mpi_comm.h"
#include "tests/distributed/device_ranks.h"
#include "tests/support/sanitized.h"
#include "tests/trainer/layout_draw.h"

namespace braid::testing {
namespace {

constexpr uint64_t kDraws = test::kSanitized ? 4 : 40;
constexpr uint64_t kGpuDraws = 2; // of some seconds each on an emulated GPU

TEST(layout_property, processes_compute_what_one_rank_computes) {
    const DeviceRanks ranks;
    const int size = ranks.world->size();
    const uint64_t draws = ranks.compute.device().kind == DeviceKind::cpu ? kDraws : kGpuDraws;
    for (const uint64_t seed : layout_seeds(static_cast<uint64_t>(size) * 100'000, draws)) {
        LayoutDraw draw = draw_layout(seed, size);
        draw.run.compute = draw.laid_out.compute = ranks.compute;
        const auto reference =
            run_layout(draw.run, {.micro_batch = draw.run.global_batch}, *self_communicator());
        const auto steps = run_layout(draw.laid_out, draw.layout, *ranks.world, &reference);
        const LayoutDifference worst = compare(steps, reference);
        EXPECT_LE(worst.error, kParityBound) << worst.where << "; " << describe(draw);
    }
}

/// Whether a message of one byte is on its way before anybody asked for it. MPI would do without a receiver
/// for small messages (an eager send), which hides deadlocks; BRAID_TEST_RENDEZVOUS=1 says that it must not.
TEST(layout_property, messages_wait_for_their_receiver_where_the_environment_says_so) {
    const bool rendezvous = std::getenv("BRAID_TEST_RENDEZVOUS") != nullptr;
    const auto world = mpi_communicator(MPI_COMM_WORLD);
    const int receiver = world->size() - 1;
    char sent = 17, received = 0;
    MPI_Request request = MPI_REQUEST_NULL;
    if (world->rank() == 0) {
        MPI_Isend(&sent, 1, MPI_CHAR, receiver, 0, MPI_COMM_WORLD, &request);
        // An eager send ends at once; the long wait is for a busy machine, the short one is spent in vain.
        const auto limit = std::chrono::milliseconds(rendezvous ? 300 : 20'000);
        const auto start = std::chrono::steady_clock::now();
        int done = 0;
        while (!done && std::chrono::steady_clock::now() - start < limit)
            MPI_Test(&request, &done, MPI_STATUS_IGNORE);
        EXPECT_EQ(done != 0, !rendezvous);
    }
    if (receiver > 0) barrier(*world);
    if (world->rank() == receiver) {
        MPI_Recv(&received, 1, MPI_CHAR, 0, 0, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
        EXPECT_EQ(received, sent);
    }
    MPI_Wait(&request, MPI_STATUS_IGNORE);
}

} // namespace
} // namespace braid::testing

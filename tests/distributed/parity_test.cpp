// The same step on processes and alone.

#include <fmt/core.h>
#include <gtest/gtest.h>

#include "parallel/collectives.h"
#include "parallel/mpi_comm.h"
#include "tests/trainer/parity_case.h"

namespace braid::testing {
namespace {

TEST(parity, processes_compute_the_step_of_one_rank) {
    const auto world = mpi_communicator(MPI_COMM_WORLD);
    for (AuxScope scope : {AuxScope::sequence, AuxScope::global})
        for (int64_t micro_batch : {1, 2, 4}) {
            const ModelConfig model = parity_model(scope, scope == AuxScope::global);
            const StepResult alone = run_parity_steps(model, *self_communicator(), kParityGlobalBatch);
            const StepResult together = run_parity_steps(model, *world, micro_batch);
            expect_same_step(
                together, alone,
                fmt::format("{} ranks, micro-batch {}, {}", world->size(), micro_batch, to_string(scope)));
            EXPECT_EQ(run_parity_steps(model, *world, micro_batch).gradients, together.gradients);
        }
}

} // namespace
} // namespace braid::testing

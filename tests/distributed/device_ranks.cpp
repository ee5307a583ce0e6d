#include "tests/distributed/device_ranks.h"

#include <cstdlib>

#include "parallel/gpu_ranks.h"
#include "parallel/mpi_comm.h"
#include "tests/support/op_case.h"

namespace braid::testing {
namespace {

int place_on_machine() {
    MPI_Comm machine = MPI_COMM_NULL;
    MPI_Comm_split_type(MPI_COMM_WORLD, MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL, &machine);
    int place = 0;
    MPI_Comm_rank(machine, &place);
    MPI_Comm_free(&machine);
    return place;
}

} // namespace

DeviceRanks::DeviceRanks() : world(mpi_communicator(MPI_COMM_WORLD)) {
    if (test_device().kind == DeviceKind::cpu) return;
    setenv("BRAID_SHARE_GPU", "1", 1);
    compute = Stream({DeviceKind::cuda, place_on_machine() % num_cuda_devices()});
    if (world->size() == 1) return;
    const auto control = mpi_communicator(MPI_COMM_WORLD);
    world = with_gpus(std::move(world), *control, compute);
}

} // namespace braid::testing

#pragma once

#include <memory>

#include "parallel/communicator.h"
#include "tensor/memory/device.h"

namespace braid::testing {

/// The ranks of MPI_COMM_WORLD where tests run: on the CPU, or with BRAID_TEST_DEVICE=cuda each on the GPU of
/// its place on its machine, which it shares where there are fewer. Collective.
struct DeviceRanks {
    DeviceRanks();

    Stream compute;
    std::unique_ptr<Communicator> world;
};

} // namespace braid::testing

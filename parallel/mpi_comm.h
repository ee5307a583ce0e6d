#pragma once

#include "parallel/communicator.h"

#if BRAID_MPI
#include <mpi.h>

namespace braid {

/// A communicator over a duplicate of `group`, which this object frees. Messages are non-blocking
/// point-to-point parts of at most 1 GiB, so that no count exceeds what MPI's int can hold. MPI must be
/// initialised and outlive it.
std::unique_ptr<Communicator> mpi_communicator(MPI_Comm group);

} // namespace braid
#endif

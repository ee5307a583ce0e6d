#pragma once

#include <chrono>
#include <functional>

#include "launch/mpi_session.h"

namespace braid {

/// How long rank 0 has to say why it fails before others do.
inline constexpr std::chrono::seconds kFirstRanksWord{3};

/// Runs `body` on this process as one rank of its job and returns what it returns, once the BLAS library has
/// been seen to multiply rightly on every rank (ops/cpu/blas_check.h). An error that all ranks
/// agree on is printed by rank 0 and becomes the same exit code on all; any other error of one rank is
/// printed too and ends the whole job with its code, so that no rank waits for ever. What a process alone
/// throws is thrown on.
ExitCode run_as_rank(const std::function<ExitCode(MpiSession&)>& body);

/// Sets the number of OpenMP threads of this process and returns it: `wanted`, or with 0 OMP_NUM_THREADS, or
/// else this rank's share of the cores that its machine allows it.
int set_num_threads(int64_t wanted, int node_size);

} // namespace braid

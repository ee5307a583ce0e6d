#pragma once

#include <memory>
#include <string>

#include "base/error.h"
#include "parallel/communicator.h"
#include "parallel/watchdog.h"
#include "tensor/memory/device.h"

namespace braid {

/// MPI for the lifetime of a command, if mpirun (or another launcher) started this process; otherwise one
/// rank without MPI. All that its ranks communicate is recorded, and watched from the start: a rank that
/// waits too long for others ends the job with exit code 6.
class MpiSession {
  public:
    MpiSession();
    ~MpiSession();
    MpiSession(const MpiSession&) = delete;
    MpiSession& operator=(const MpiSession&) = delete;

    Communicator& world() { return *world_; }
    /// Ranks on this machine, and this rank's place among them.
    int node_size() const { return node_size_; }
    int node_rank() const { return node_rank_; }
    /// Gives the world the GPUs that its ranks compute on, each in the stream `compute`. Collective.
    void use_gpus(const Stream& compute);
    /// The name and version of the MPI library; empty without MPI.
    std::string library() const;
    /// From here on a rank may wait `seconds` for others, or for ever with 0. Its report is added to
    /// watchdog-rank-N.txt in `folder` if that exists.
    void watch(int64_t seconds, const std::string& folder);
    /// Ends all ranks with this exit code.
    [[noreturn]] void abort(ExitCode code);

  private:
    void end_in_step();

    bool initialized_ = false;
    std::unique_ptr<CollectiveLog> log_;
    std::unique_ptr<Communicator> world_;
    int node_size_ = 1, node_rank_ = 0;
    std::unique_ptr<Watchdog> watchdog_;
};

/// Of this machine.
std::string host_name();

} // namespace braid

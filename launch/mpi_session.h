#pragma once

#include <memory>
#include <string>

#include "base/error.h"
#include "parallel/communicator.h"

namespace braid {

/// MPI for the lifetime of a command, if mpirun (or another launcher) started this process; otherwise one
/// rank without MPI.
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
    /// The name and version of the MPI library; empty without MPI.
    std::string library() const;
    /// Ends all ranks with this exit code.
    [[noreturn]] void abort(ExitCode code);

  private:
    bool initialized_ = false;
    std::unique_ptr<Communicator> world_;
    int node_size_ = 1, node_rank_ = 0;
};

} // namespace braid

#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/dtype.h"

namespace braid {

/// A collective under way. It is owned by whoever started it; the buffers it was given must live until wait()
/// returns.
class Pending {
  public:
    virtual ~Pending() = default;
    /// Whether it has finished. Never blocks, and lets the transport make progress.
    virtual bool poll() = 0;
    virtual void wait() = 0;
    /// Waits for about that long at most; whether it has finished.
    virtual bool wait_for(std::chrono::nanoseconds time) = 0;
    /// Where wait() only queues and the host goes on (on a GPU): says at any time, from any thread, whether
    /// the collective has finished. Empty where wait() itself waits.
    virtual std::function<bool()> completion() { return {}; }
    /// The ranks of the group that it still waits for, ascending. They have not joined, or have not moved on
    /// since: their parts are not here or they have not taken ours. In a sum of the library that all have
    /// joined nobody can tell, and it is all others.
    virtual std::vector<int> missing() = 0;
};

class CollectiveLog;

/// A group of ranks that exchange messages. Every member must start the same collectives in the same order;
/// all buffers are host memory, or all memory of the rank's GPU (on_device()). Collectives move bytes only:
/// sums are made by the callers in parallel/collectives.h, in rank order, so that no library decides the
/// order of a float sum. Used from one thread of each rank.
class Communicator {
  public:
    virtual ~Communicator() = default;

    virtual int rank() const = 0;
    virtual int size() const = 0;

    /// Rank r gets the r-th part of `send` and this rank's `receive` is made of the parts of rank 0, 1, ...
    /// in order. Parts are packed; sizes are in bytes, one per rank; send_bytes[r] here must equal
    /// receive_bytes[rank()] there.
    virtual std::unique_ptr<Pending> all_to_all(const void* send, std::span<const int64_t> send_bytes,
                                                void* receive, std::span<const int64_t> receive_bytes) = 0;

    /// `receive` is made of every rank's `send`, in rank order. bytes[r] is the size of rank r's part; this
    /// rank's own part may already stand in its place in `receive`.
    virtual std::unique_ptr<Pending> all_gather(const void* send, void* receive,
                                                std::span<const int64_t> bytes) = 0;

    /// Sums f32 or f64 values over all ranks, in place, in whatever order the transport likes best: not the
    /// same bits for another number of ranks, library version or network (parallel.reduction: library).
    virtual std::unique_ptr<Pending> all_reduce_any_order(void* values, int64_t count, DType dtype) = 0;

    /// Splits into the groups of ranks that give one colour, ranked by key, then by rank here. `axis` says
    /// what the groups are for, as a mesh calls it ("data", "tensor"): reports and metrics use it.
    virtual std::unique_ptr<Communicator> split(int color, int key, const std::string& axis) = 0;

    /// Says what the collectives started from here on are part of; equal on all members. Messages carry it
    /// with their place in the sequence, so that ranks which do different things never take each other's
    /// messages for their own: they miss each other, or fail at once where the transport can tell.
    virtual void set_operation(uint64_t) {}

    /// The same ranks, in the same order, for buffers on this rank's GPU; null where there is none. Its
    /// collectives are queued behind the work that fills their buffers, and what is queued after wait() runs
    /// after them: the host does not wait.
    virtual Communicator* on_device() { return nullptr; }
    /// Whether buffers are memory of the GPU.
    virtual bool is_on_device() const { return false; }
    /// CommError where what is under way can never end, as a rank has failed or a connection broke. For
    /// whoever waits for a GPU (tensor/memory/host_wait.h); collectives themselves look as well.
    virtual void expect_healthy() {}

    /// Where this rank's collectives are recorded, or null if nobody records them.
    virtual CollectiveLog* log() { return nullptr; }
};

/// The group of one rank.
std::unique_ptr<Communicator> self_communicator();

} // namespace braid

#pragma once

// A stream that works beside the host: the one NCCL's stand-in is given. What other streams get has run when
// the call returns.

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>

#include <cuda_runtime.h>

namespace cuda_emulation {

/// Work that a thread of its own does in order. The thread ends with the last handle and the last work.
class Queue {
  public:
    static std::shared_ptr<Queue> start();
    /// Returns its number, from 1.
    uint64_t push(std::function<void()> work);
    uint64_t last() const;
    bool finished(uint64_t number) const;
    void wait(uint64_t number) const;

  private:
    void run();

    mutable std::mutex mutex_;
    mutable std::condition_variable changed_;
    std::deque<std::function<void()>> waiting_;
    uint64_t pushed_ = 0, finished_ = 0;
};

/// A place in a queue; with a null queue it has been passed.
struct Mark {
    std::shared_ptr<Queue> queue;
    uint64_t number = 0;

    bool reached() const { return !queue || queue->finished(number); }
    void wait() const {
        if (queue) queue->wait(number);
    }
};

/// From here on the stream works beside the host. Returns the mark behind the work.
Mark push(cudaStream_t stream, std::function<void()> work);

} // namespace cuda_emulation

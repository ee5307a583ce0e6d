#pragma once

#include <memory>
#include <thread>

#include "base/awaited.h"
#include "data/loader.h"

namespace braid {

/// Makes batches of a loader in the background, in a thread of its own. It shares the loader, which must have
/// its order and position before the first batch.
class Prefetcher {
  public:
    explicit Prefetcher(std::shared_ptr<const TrainLoader> loader);
    /// A read that hangs does not keep the program from ending: the thread is then left to itself.
    ~Prefetcher();
    Prefetcher(const Prefetcher&) = delete;
    Prefetcher& operator=(const Prefetcher&) = delete;

    /// Starts to make a batch for a later micro_batch() of the same range. At most kMaxPrefetched wait;
    /// beyond that the oldest is dropped. Only a hint: results never depend on it.
    void prefetch(int64_t first, int64_t count);
    static constexpr size_t kMaxPrefetched = 64;

    /// The loader's samples [first, first + count); Error with ExitCode::stopped once `stop` is true while
    /// they are read.
    MicroBatch micro_batch(int64_t first, int64_t count, const StopRequested& stop = {});

  private:
    class Queue;

    std::shared_ptr<const TrainLoader> loader_;
    std::shared_ptr<Queue> queue_; // the thread's too
    std::thread thread_;
};

} // namespace braid

#include "data/prefetcher.h"

#include <condition_variable>
#include <deque>
#include <list>
#include <mutex>

namespace braid {

/// The batches asked for, in the order asked.
class Prefetcher::Queue {
  public:
    explicit Queue(std::shared_ptr<const TrainLoader> loader) : loader_(std::move(loader)) {}

    void add(int64_t first, int64_t count) {
        const std::lock_guard lock(mutex_);
        for (const Entry& entry : entries_)
            if (entry.first == first && entry.count == count) return;
        Entry entry{first, count, {}};
        std::packaged_task<MicroBatch()> task(
            [loader = loader_, first, count] { return loader->micro_batch(first, count); });
        entry.batch = task.get_future();
        entries_.push_back(std::move(entry));
        tasks_.push_back({first, count, std::move(task)});
        if (entries_.size() > kMaxPrefetched) {
            forget_task(entries_.front().first, entries_.front().count);
            entries_.pop_front();
        }
        wake_.notify_all();
    }

    /// The future of a range asked for earlier; invalid if there is none, or if its making has not begun:
    /// then making it at once is faster than waiting for what is queued before it.
    std::future<MicroBatch> take(int64_t first, int64_t count) {
        const std::lock_guard lock(mutex_);
        for (auto entry = entries_.begin(); entry != entries_.end(); ++entry) {
            if (entry->first != first || entry->count != count) continue;
            std::future<MicroBatch> batch = std::move(entry->batch);
            entries_.erase(entry);
            return forget_task(first, count) ? std::future<MicroBatch>() : std::move(batch);
        }
        return {};
    }

    /// Has run() return; whether it does within a second.
    bool stop() {
        std::unique_lock lock(mutex_);
        stopping_ = true;
        wake_.notify_all();
        return wake_.wait_for(lock, std::chrono::seconds(1), [this] { return ended_; });
    }

    void run() {
        std::unique_lock lock(mutex_);
        while (true) {
            wake_.wait(lock, [this] { return stopping_ || !tasks_.empty(); });
            if (stopping_) break;
            Task task = std::move(tasks_.front());
            tasks_.pop_front();
            lock.unlock();
            task.make(); // an exception travels in the future
            lock.lock();
        }
        ended_ = true;
        wake_.notify_all();
    }

  private:
    struct Entry {
        int64_t first, count;
        std::future<MicroBatch> batch;
    };
    struct Task {
        int64_t first, count;
        std::packaged_task<MicroBatch()> make;
    };

    /// Removes a task that has not begun; false if there is none.
    bool forget_task(int64_t first, int64_t count) {
        return std::erase_if(
                   tasks_, [&](const Task& task) { return task.first == first && task.count == count; }) > 0;
    }

    const std::shared_ptr<const TrainLoader> loader_;
    std::mutex mutex_;
    std::condition_variable wake_;
    std::list<Entry> entries_;
    std::deque<Task> tasks_; // not begun
    bool stopping_ = false, ended_ = false;
};

Prefetcher::Prefetcher(std::shared_ptr<const TrainLoader> loader)
    : loader_(std::move(loader)),
      queue_(std::make_shared<Queue>(loader_)),
      thread_([queue = queue_] { queue->run(); }) {}

Prefetcher::~Prefetcher() {
    if (queue_->stop())
        thread_.join();
    else
        thread_.detach();
}

void Prefetcher::prefetch(int64_t first, int64_t count) {
    queue_->add(first, count);
}

MicroBatch Prefetcher::micro_batch(int64_t first, int64_t count, const StopRequested& stop) {
    std::future<MicroBatch> prefetched = queue_->take(first, count);
    if (prefetched.valid()) return await(prefetched, stop);
    return interruptible([loader = loader_, first, count] { return loader->micro_batch(first, count); },
                         stop);
}

} // namespace braid

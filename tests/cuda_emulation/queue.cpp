#include "tests/cuda_emulation/queue.h"

#include <chrono>
#include <csignal>
#include <thread>
#include <utility>

namespace cuda_emulation {

std::shared_ptr<Queue> Queue::start() {
    auto queue = std::make_shared<Queue>();
    // Signals are for the host's own threads.
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    std::thread([weak = std::weak_ptr<Queue>(queue)] {
        using namespace std::chrono_literals;
        while (const auto held = weak.lock()) {
            {
                std::unique_lock lock(held->mutex_);
                held->changed_.wait_for(lock, 20ms, [&] { return !held->waiting_.empty(); });
            }
            held->run(); // before this handle goes, which may be the last
        }
    }).detach();
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
    return queue;
}

void Queue::run() {
    std::unique_lock lock(mutex_);
    while (!waiting_.empty()) {
        const auto work = std::move(waiting_.front());
        waiting_.pop_front();
        lock.unlock();
        work();
        lock.lock();
        ++finished_;
        changed_.notify_all();
    }
}

uint64_t Queue::push(std::function<void()> work) {
    const std::lock_guard lock(mutex_);
    waiting_.push_back(std::move(work));
    changed_.notify_all();
    return ++pushed_;
}

uint64_t Queue::last() const {
    const std::lock_guard lock(mutex_);
    return pushed_;
}

bool Queue::finished(uint64_t number) const {
    const std::lock_guard lock(mutex_);
    return finished_ >= number;
}

void Queue::wait(uint64_t number) const {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return finished_ >= number; });
}

} // namespace cuda_emulation

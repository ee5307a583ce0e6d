#pragma once

#include <chrono>

#include "parallel/communicator.h"

namespace braid::bench {

/// Adds the seconds of its own life to a sum.
class HostTime {
  public:
    explicit HostTime(double& seconds) : seconds_(seconds) {}
    ~HostTime() {
        seconds_ += std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
    }
    HostTime(const HostTime&) = delete;
    HostTime& operator=(const HostTime&) = delete;

  private:
    double& seconds_;
    const std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

// Communicators that add up what their rank's thread spends inside them: starting, polling and waiting, also
// for ranks that come late. What travels while the thread computes costs nothing here.

class TimedPending : public Pending {
  public:
    TimedPending(std::unique_ptr<Pending> inner, double& seconds)
        : inner_(std::move(inner)), seconds_(seconds) {}
    bool poll() override {
        const HostTime timer(seconds_);
        return inner_->poll();
    }
    void wait() override {
        const HostTime timer(seconds_);
        inner_->wait();
    }
    bool wait_for(std::chrono::nanoseconds time) override {
        const HostTime timer(seconds_);
        return inner_->wait_for(time);
    }
    std::vector<int> missing() override { return inner_->missing(); }

  private:
    std::unique_ptr<Pending> inner_;
    double& seconds_;
};

/// Works on `inner`, which it may own; groups split off add to the same sum, which must outlive them all.
class TimedCommunicator : public Communicator {
  public:
    TimedCommunicator(Communicator& inner, double& seconds) : inner_(inner), seconds_(seconds) {}
    TimedCommunicator(std::unique_ptr<Communicator> inner, double& seconds)
        : owned_(std::move(inner)), inner_(*owned_), seconds_(seconds) {}

    int rank() const override { return inner_.rank(); }
    int size() const override { return inner_.size(); }
    std::unique_ptr<Pending> all_to_all(const void* send, std::span<const int64_t> send_bytes, void* receive,
                                        std::span<const int64_t> receive_bytes) override {
        return timed([&] { return inner_.all_to_all(send, send_bytes, receive, receive_bytes); });
    }
    std::unique_ptr<Pending> all_gather(const void* send, void* receive,
                                        std::span<const int64_t> bytes) override {
        return timed([&] { return inner_.all_gather(send, receive, bytes); });
    }
    std::unique_ptr<Pending> all_reduce_any_order(void* values, int64_t count, DType dtype) override {
        return timed([&] { return inner_.all_reduce_any_order(values, count, dtype); });
    }
    std::unique_ptr<Communicator> split(int color, int key, const std::string& axis) override {
        return std::make_unique<TimedCommunicator>(inner_.split(color, key, axis), seconds_);
    }
    void set_operation(uint64_t operation) override { inner_.set_operation(operation); }
    CollectiveLog* log() override { return inner_.log(); }

  private:
    template <typename Start>
    std::unique_ptr<Pending> timed(Start&& start) {
        const HostTime timer(seconds_);
        return std::make_unique<TimedPending>(start(), seconds_);
    }

    std::unique_ptr<Communicator> owned_;
    Communicator& inner_;
    double& seconds_;
};

} // namespace braid::bench

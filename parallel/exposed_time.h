#pragma once

#include <chrono>
#include <deque>
#include <utility>

#include "base/error.h"
#include "tensor/memory/device.h"

namespace braid {

/// Adds up communication that nothing hid. On the CPU that is what the host spends in it. On a GPU the host
/// only queues it; there it is what the stream that computes spends between what it was given before and
/// after, by its events.
class ExposedTime {
  public:
    /// Counts for its own life.
    class Span {
      public:
        Span(ExposedTime& time, const Stream& compute) : time_(time), compute_(compute) {
            if (compute_.native()) begin_.record_timed(compute_);
        }
        ~Span() {
            if (compute_.native()) {
                try {
                    Event end;
                    end.record_timed(compute_);
                    time_.open_.emplace_back(std::move(begin_), std::move(end));
                } catch (const Error&) {
                    // The device has failed; whoever uses it next says so.
                }
            } else {
                time_.seconds_ +=
                    std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
            }
        }
        Span(const Span&) = delete;
        Span& operator=(const Span&) = delete;

      private:
        ExposedTime& time_;
        const Stream compute_;
        Event begin_;
        const std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
    };

    /// Seconds since the last call. Of a GPU what has ended by now, as nobody waits for the rest: it counts
    /// next time.
    double take_seconds() {
        while (!open_.empty() && open_.front().second.reached()) {
            seconds_ += open_.front().second.seconds_since(open_.front().first);
            open_.pop_front();
        }
        return std::exchange(seconds_, 0);
    }

  private:
    double seconds_ = 0;
    std::deque<std::pair<Event, Event>> open_; // on a GPU, in its order
};

} // namespace braid

#pragma once

#include <condition_variable>
#include <functional>
#include <mutex>
#include <thread>

#include "parallel/collective_log.h"

namespace braid {

struct WatchdogOptions {
    /// How long a rank may wait for a collective.
    std::chrono::milliseconds limit;
    std::string host;
    /// Takes the report's first line, or all of it where there is no file.
    std::function<void(const std::string& text)> print;
    /// Adds the whole report to the rank's file; false if it cannot. Called on a thread of its own, as a disk
    /// may hang too.
    std::function<bool(const std::string& text)> store;
    /// Ends the process with exit code 6, without any orderly end: the rank's thread is stuck.
    std::function<void()> end_job;
};

/// A thread that ends the job when this rank has waited too long for others. It looks at the log a few times
/// a second and never calls the transport: what a GPU has completed is asked on a thread of its own, whose
/// answer it does not wait for. Only time spent waiting counts, so a rank that computes for hours is never
/// ended by its own watchdog; those who wait for it name it. Time during which this process itself was
/// stopped does not count.
///
/// Of the ranks that wait in a group, the first prints; ending its process ends the job. The others have
/// their own report stored by then and print only if that does not happen.
class Watchdog {
  public:
    Watchdog(CollectiveLog& log, WatchdogOptions options);
    ~Watchdog();
    Watchdog(const Watchdog&) = delete;
    Watchdog& operator=(const Watchdog&) = delete;

  private:
    void watch();
    void ask();
    std::chrono::nanoseconds period() const;
    bool sleep(std::chrono::nanoseconds time);
    void report(const CollectiveEntry& stuck, std::chrono::nanoseconds waited);
    bool store_in_time(const std::string& text) const;

    CollectiveLog& log_;
    const WatchdogOptions options_;
    std::mutex mutex_;
    std::condition_variable stopped_;
    bool stop_ = false;
    std::thread thread_, asking_;
};

/// What a watchdog says: a line about the stuck collective, then the last collectives of this rank.
std::string describe_stuck(const CollectiveLog& log, const CollectiveEntry& stuck,
                           std::chrono::nanoseconds waited, const std::string& host);

} // namespace braid

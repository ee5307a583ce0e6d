#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace braid {

enum class ProfilePhase : uint8_t { forward, data_gradient, weight_gradient, communication, other };

/// Marks in what a device is given to do, where the host's clock tells only when it was given.
class DeviceMarks {
  public:
    virtual ~DeviceMarks() = default;
    /// Marks what has been given so far; marks are numbered from 0.
    virtual int64_t mark() = 0;
    /// When the device got to each mark, in nanoseconds since the first one, and forgets them. Waits.
    virtual std::vector<int64_t> take_ns() = 0;
};

/// Time and floating-point operations of named pieces of work, by layer: wall time, or with marks the time of
/// the device that works. One per rank, used from one thread.
class Profiler {
  public:
    using Clock = std::chrono::steady_clock;

    explicit Profiler(std::shared_ptr<DeviceMarks> marks = nullptr) : marks_(std::move(marks)) {}

    struct Event {
        const char* name; // of the operation; a string literal
        int layer;        // index into layer_names()
        ProfilePhase phase;
        int64_t start_ns, duration_ns; // since the profiler was made
        double flops;
    };

    /// The layer that following events belong to.
    void set_layer(const std::string& name);
    void add(Event event) { events_.push_back(event); }
    int layer() const { return layer_; }
    /// The present for end(): nanoseconds, or a mark's number.
    int64_t begin() {
        if (marks_) return marks_->mark();
        return std::chrono::duration_cast<std::chrono::nanoseconds>(Clock::now() - start_).count();
    }
    /// Adds what has begun then and ends now.
    void end(const char* name, ProfilePhase phase, int64_t begin, double flops);
    /// To be called before what follows is asked, where there are marks: waits for the device.
    void settle();

    const std::vector<Event>& events() const { return events_; }
    const std::vector<std::string>& layer_names() const { return layer_names_; }
    void clear() { events_.clear(), num_settled_ = 0; }

    /// A text table: per operation and phase calls, seconds, share of all, GFLOP/s; then the same per layer.
    /// Time inside nested events counts for those alone.
    std::string table() const;
    /// The events in Chrome's trace format (chrome://tracing, Perfetto), with `rank` as process.
    std::string chrome_trace(int rank) const;

  private:
    const Clock::time_point start_ = Clock::now();
    const std::shared_ptr<DeviceMarks> marks_;
    size_t num_settled_ = 0; // events; the others hold marks' numbers, if there are marks
    int64_t device_ns_ = 0;  // of what has been settled
    std::vector<Event> events_;
    std::vector<std::string> layer_names_{"-"};
    int layer_ = 0;
};

/// Times its own lifetime, unless the profiler is null. Operations add what they compute with count_flops().
/// Scopes may nest; the tape opens one around each backward function, operations open one in forward.
class ProfileScope {
  public:
    ProfileScope(Profiler* profiler, const char* name, ProfilePhase phase = ProfilePhase::forward)
        : profiler_(profiler), name_(name), phase_(phase), begin_(profiler ? profiler->begin() : 0) {}
    ~ProfileScope() {
        if (profiler_) profiler_->end(name_, phase_, begin_, flops_);
    }
    ProfileScope(const ProfileScope&) = delete;
    ProfileScope& operator=(const ProfileScope&) = delete;

    void count_flops(double flops) { flops_ += flops; }

  private:
    Profiler* profiler_;
    const char* name_;
    ProfilePhase phase_;
    int64_t begin_;
    double flops_ = 0;
};

} // namespace braid

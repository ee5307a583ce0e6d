#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

namespace braid {

enum class ProfilePhase : uint8_t { forward, data_gradient, weight_gradient, communication, other };

/// Wall time and floating-point operations of named pieces of work, by layer. One per rank, used from one
/// thread.
class Profiler {
  public:
    using Clock = std::chrono::steady_clock;

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
    int64_t now_ns() const {
        return std::chrono::duration_cast<std::chrono::nanoseconds>(Clock::now() - start_).count();
    }

    const std::vector<Event>& events() const { return events_; }
    const std::vector<std::string>& layer_names() const { return layer_names_; }
    void clear() { events_.clear(); }

    /// A text table: per operation and phase calls, seconds, share of all, GFLOP/s; then the same per layer.
    /// Time inside nested events counts for those alone.
    std::string table() const;
    /// The events in Chrome's trace format (chrome://tracing, Perfetto), with `rank` as process.
    std::string chrome_trace(int rank) const;

  private:
    const Clock::time_point start_ = Clock::now();
    std::vector<Event> events_;
    std::vector<std::string> layer_names_{"-"};
    int layer_ = 0;
};

/// Times its own lifetime, unless the profiler is null. Operations add what they compute with count_flops().
/// Scopes may nest; the tape opens one around each backward function, operations open one in forward.
class ProfileScope {
  public:
    ProfileScope(Profiler* profiler, const char* name, ProfilePhase phase = ProfilePhase::forward)
        : profiler_(profiler), name_(name), phase_(phase), start_ns_(profiler ? profiler->now_ns() : 0) {}
    ~ProfileScope() {
        if (profiler_)
            profiler_->add(
                {name_, profiler_->layer(), phase_, start_ns_, profiler_->now_ns() - start_ns_, flops_});
    }
    ProfileScope(const ProfileScope&) = delete;
    ProfileScope& operator=(const ProfileScope&) = delete;

    void count_flops(double flops) { flops_ += flops; }

  private:
    Profiler* profiler_;
    const char* name_;
    ProfilePhase phase_;
    int64_t start_ns_;
    double flops_ = 0;
};

} // namespace braid

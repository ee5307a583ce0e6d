#include "base/profiler.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <map>
#include <nlohmann/json.hpp>

namespace braid {
namespace {

constexpr std::array<const char*, 5> kPhaseNames = {"forward", "dgrad", "wgrad", "comm", "other"};

struct Total {
    int64_t calls = 0;
    double seconds = 0, flops = 0;
};

std::string total_table(const char* title, const std::map<std::string, Total>& totals) {
    double all = 0;
    for (const auto& [name, total] : totals) all += total.seconds;
    std::vector<std::pair<std::string, Total>> rows(totals.begin(), totals.end());
    std::stable_sort(rows.begin(), rows.end(),
                     [](auto& a, auto& b) { return a.second.seconds > b.second.seconds; });
    std::string text =
        fmt::format("{:<40} {:>8} {:>10} {:>7} {:>10}\n", title, "calls", "seconds", "share", "GFLOP/s");
    for (const auto& [name, total] : rows) {
        const double share = all > 0 ? 100 * total.seconds / all : 0;
        const double rate = total.seconds > 0 ? total.flops / total.seconds * 1e-9 : 0;
        text += fmt::format("{:<40} {:>8} {:>10.4f} {:>6.1f}% {:>10.2f}\n", name, total.calls, total.seconds,
                            share, rate);
    }
    return text;
}

/// The time of each event that lies in none of the events inside it. Events are listed in the order of their
/// ends, so those inside one come before it.
std::vector<int64_t> own_durations_ns(const std::vector<Profiler::Event>& events) {
    std::vector<int64_t> own;
    std::vector<const Profiler::Event*> outermost; // so far, in order
    for (const Profiler::Event& event : events) {
        own.push_back(event.duration_ns);
        for (; !outermost.empty() && outermost.back()->start_ns >= event.start_ns; outermost.pop_back())
            own.back() -= outermost.back()->duration_ns;
        outermost.push_back(&event);
    }
    return own;
}

} // namespace

void Profiler::set_layer(const std::string& name) {
    const auto found = std::find(layer_names_.begin(), layer_names_.end(), name);
    layer_ = static_cast<int>(found - layer_names_.begin());
    if (found == layer_names_.end()) layer_names_.push_back(name);
}

void Profiler::end(const char* name, ProfilePhase phase, int64_t begin, double flops) {
    const int64_t now = this->begin();
    add({name, layer_, phase, begin, marks_ ? now : now - begin, flops});
}

void Profiler::settle() {
    if (!marks_) return;
    const std::vector<int64_t> at = marks_->take_ns();
    for (; num_settled_ < events_.size(); ++num_settled_) {
        Event& event = events_[num_settled_];
        const int64_t start = at.at(static_cast<size_t>(event.start_ns)),
                      stop = at.at(static_cast<size_t>(event.duration_ns));
        event.start_ns = device_ns_ + start;
        event.duration_ns = stop - start;
    }
    if (!at.empty()) device_ns_ += at.back() + 1;
}

std::string Profiler::table() const {
    std::map<std::string, Total> by_operation, by_layer;
    const std::vector<int64_t> own_ns = own_durations_ns(events_);
    for (size_t i = 0; i < events_.size(); ++i) {
        const Event& event = events_[i];
        const std::string operation =
            fmt::format("{} {}", event.name, kPhaseNames[static_cast<size_t>(event.phase)]);
        for (Total* total :
             {&by_operation[operation], &by_layer[layer_names_[static_cast<size_t>(event.layer)]]}) {
            ++total->calls;
            total->seconds += static_cast<double>(own_ns[i]) * 1e-9;
            total->flops += event.flops;
        }
    }
    return total_table("operation", by_operation) + "\n" + total_table("layer", by_layer);
}

std::string Profiler::chrome_trace(int rank) const {
    nlohmann::json events = nlohmann::json::array();
    for (const Event& event : events_) {
        events.push_back(
            {{"name", event.name},
             {"cat", kPhaseNames[static_cast<size_t>(event.phase)]},
             {"ph", "X"},
             {"pid", rank},
             {"tid", 0},
             {"ts", static_cast<double>(event.start_ns) * 1e-3},
             {"dur", static_cast<double>(event.duration_ns) * 1e-3},
             {"args", {{"layer", layer_names_[static_cast<size_t>(event.layer)]}, {"flops", event.flops}}}});
    }
    return nlohmann::json{{"traceEvents", events}}.dump();
}

} // namespace braid

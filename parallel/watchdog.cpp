#include "parallel/watchdog.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <csignal>
#include <future>

namespace braid {
namespace {

using Clock = CollectiveEntry::Clock;
using std::chrono::milliseconds;
using std::chrono::nanoseconds;

// After the first rank's report, for the others' and for mpirun to pass the lines on.
constexpr milliseconds kGrace{1000};
// A rank that leaves the word to the first of its group ends the job itself after this.
constexpr milliseconds kPatience{4000};
constexpr milliseconds kStoreLimit{2000};

double seconds(nanoseconds time) {
    return std::chrono::duration<double>(time).count();
}

std::string ranks_text(const std::vector<int>& ranks) {
    constexpr size_t kShown = 16;
    if (ranks.empty()) return "ranks it cannot tell";
    const std::vector<int> shown(ranks.begin(),
                                 ranks.begin() + static_cast<std::ptrdiff_t>(std::min(kShown, ranks.size())));
    return fmt::format("rank{} {}{}", ranks.size() > 1 ? "s" : "", fmt::join(shown, ", "),
                       ranks.size() > kShown ? fmt::format(" and {} more", ranks.size() - kShown) : "");
}

/// Whether this rank is the first of the stuck group that is there; if nobody can tell, all are.
bool speaks_first(int rank, const CollectiveEntry& stuck) {
    if (stuck.missing.empty()) return true;
    return std::all_of(stuck.members->begin(), stuck.members->end(), [&](int member) {
        return member >= rank ||
               std::find(stuck.missing.begin(), stuck.missing.end(), member) != stuck.missing.end();
    });
}

} // namespace

std::string describe_stuck(const CollectiveLog& log, const CollectiveEntry& stuck, nanoseconds waited,
                           const std::string& host) {
    std::string text = fmt::format("rank {} on {} waited {:.1f} s for {} in {}\n", log.rank(), host,
                                   seconds(waited), ranks_text(stuck.missing), stuck.name());
    text += fmt::format("the last collectives of rank {}, newest last:\n", log.rank());
    const auto now = Clock::now();
    for (const CollectiveEntry& entry : log.recent())
        text += fmt::format("  {:9.3f} s ago  {}; {} bytes sent, {}\n", seconds(now - entry.start),
                            entry.name(), entry.bytes_sent,
                            entry.done         ? "done"
                            : entry.waited_for ? "waiting for " + ranks_text(entry.missing)
                                               : "under way");
    return text;
}

Watchdog::Watchdog(CollectiveLog& log, WatchdogOptions options) : log_(log), options_(std::move(options)) {
    // Signals are for the rank's own thread.
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    thread_ = std::thread([this] { watch(); });
    asking_ = std::thread([this] { ask(); });
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

Watchdog::~Watchdog() {
    {
        const std::lock_guard lock(mutex_);
        stop_ = true;
    }
    stopped_.notify_all();
    thread_.join();
    asking_.join();
}

/// False if the watchdog is to stop.
bool Watchdog::sleep(nanoseconds time) {
    std::unique_lock lock(mutex_);
    return !stopped_.wait_for(lock, time, [&] { return stop_; });
}

nanoseconds Watchdog::period() const {
    return std::clamp<nanoseconds>(options_.limit / 8, milliseconds(5), milliseconds(250));
}

void Watchdog::ask() {
    // Twice as often as the other looks, so that it knows of all that ended before its last look.
    while (sleep(period() / 2)) log_.end_completed();
}

void Watchdog::watch() {
    const nanoseconds period = this->period();
    int64_t id = -1;
    nanoseconds waited{0};
    auto last = Clock::now();
    while (sleep(period)) {
        const auto now = Clock::now();
        // Between two looks much more time may pass than was slept: this process was stopped, and not stuck.
        // However often that happens, only what it may have waited counts.
        const nanoseconds passed = now - last > 4 * period ? period : nanoseconds(now - last);
        last = now;
        const auto entry = log_.waited_for();
        if (!entry || entry->id != id) {
            id = entry ? entry->id : -1;
            waited = nanoseconds(0);
            continue;
        }
        waited += passed;
        if (waited < options_.limit) continue;
        report(*entry, waited);
        return;
    }
}

void Watchdog::report(const CollectiveEntry& stuck, nanoseconds waited) {
    const std::string text = describe_stuck(log_, stuck, waited, options_.host);
    const bool first = speaks_first(log_.rank(), stuck);
    const std::string line = text.substr(0, text.find('\n') + 1);
    // The file may hang; the word comes first.
    if (first) options_.print(line);
    const bool stored = store_in_time(text);
    if (!stored && first) options_.print(text.substr(line.size()));
    if (!sleep(first ? kGrace : kPatience)) return;
    if (!first) options_.print(stored ? line : text);
    options_.end_job();
}

bool Watchdog::store_in_time(const std::string& text) const {
    if (!options_.store) return false;
    std::packaged_task<bool()> task([store = options_.store, text] { return store(text); });
    std::future<bool> stored = task.get_future();
    std::thread(std::move(task)).detach();
    return stored.wait_for(kStoreLimit) == std::future_status::ready && stored.get();
}

} // namespace braid

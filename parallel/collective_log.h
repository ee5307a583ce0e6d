#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/enum_names.h"

namespace braid {

enum class CollectiveKind : uint8_t { all_to_all, all_gather, all_reduce, split, finalize };
constexpr auto enum_names(CollectiveKind) {
    return std::array<std::string_view, 5>{"all_to_all", "all_gather", "all_reduce", "split", "finalize"};
}

/// A collective this rank has issued.
struct CollectiveEntry {
    using Ranks = std::shared_ptr<const std::vector<int>>;
    using Clock = std::chrono::steady_clock;

    int64_t id = 0;       // in the order of issue over all groups, from 0
    std::string axis;     // what the group is for: "world", "data", ...
    Ranks members;        // of the group, as ranks of the world
    int64_t sequence = 0; // among the collectives of its group, from 0
    CollectiveKind kind = CollectiveKind::all_gather;
    int64_t bytes_sent = 0; // that leave this rank
    std::string label;      // what the ranks were doing: "step 12, gradients of layers.3"
    Clock::time_point start;
    bool done = false;
    bool waited_for = false;  // the rank does nothing but wait for it
    std::vector<int> missing; // of a pending one that is waited for: ranks of the world

    /// "all_gather 17 of data: step 12, gradients of layers.3"
    std::string name() const;
};

/// What one rank has sent since someone last asked.
struct Traffic {
    int64_t calls = 0, bytes_sent = 0;
    bool operator==(const Traffic&) const = default;
};

/// What one rank communicates: its last collectives, those that are under way, and counts of all. Written by
/// the rank's own thread, through traced communicators; the watchdog's thread reads it. Cheap enough to be
/// always on: a collective costs well below a microsecond here.
class CollectiveLog {
  public:
    static constexpr size_t kKept = 64; // collectives that are remembered after their end

    /// rank: of the world.
    explicit CollectiveLog(int rank) : rank_(rank) {}
    CollectiveLog(const CollectiveLog&) = delete;
    CollectiveLog& operator=(const CollectiveLog&) = delete;

    int rank() const { return rank_; }

    /// Notes the start of a collective under the present label and returns its id.
    int64_t begin(const std::string& axis, CollectiveEntry::Ranks members, int64_t sequence,
                  CollectiveKind kind, int64_t bytes_sent);
    /// From here on the rank waits for it; `missing` (ranks of the world) may be given again as it changes.
    void waiting(int64_t id, std::vector<int> missing);
    void end(int64_t id);
    /// The collective has been given to a GPU and ends when `completed` says so, which end_completed() asks
    /// on its caller's thread. The rank counts as waiting for it until then, as nothing queued behind it can
    /// run.
    void end_when(int64_t id, std::function<bool()> completed);
    /// Ends those that have completed. The rank's thread goes on meanwhile, as a question may hang in the
    /// driver while the GPU is stuck.
    void end_completed();

    /// What CollectiveLabel says at present.
    std::string label() const;

    /// The collective this rank has nothing to do but wait for, as far as is known.
    std::optional<CollectiveEntry> waited_for() const;
    /// All that are under way and the last that are done, in the order of issue.
    std::vector<CollectiveEntry> recent() const;
    /// Calls and bytes by axis and kind since the last call of this.
    std::map<std::pair<std::string, CollectiveKind>, Traffic> take_traffic();

  private:
    friend class CollectiveLabel;

    void end_locked(int64_t id);
    bool time_to_ask() const;

    const int rank_;
    mutable std::mutex mutex_;
    std::string label_;
    int64_t next_id_ = 0;
    std::map<int64_t, CollectiveEntry> pending_;
    std::map<int64_t, std::function<bool()>> completed_;
    std::deque<CollectiveEntry> done_; // at most kKept, by end
    std::map<std::pair<std::string, CollectiveKind>, Traffic> traffic_;
};

/// Adds words to the label of collectives for its own lifetime; a null log is allowed. Labels nest: "step
/// 12", then "layers.3.moe backward" make "step 12, layers.3.moe backward". They tell messages of different
/// purpose apart (Communicator::set_operation), so what they say must hold for all ranks of a group alike:
/// never a rank, a file or a number of micro-batches of its own.
class CollectiveLabel {
  public:
    CollectiveLabel(CollectiveLog* log, std::string_view what, std::string_view of = {});
    ~CollectiveLabel();
    CollectiveLabel(const CollectiveLabel&) = delete;
    CollectiveLabel& operator=(const CollectiveLabel&) = delete;

  private:
    CollectiveLog* const log_;
    size_t outer_length_ = 0;
};

} // namespace braid

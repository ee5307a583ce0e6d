#include "parallel/collective_log.h"

#include <fmt/core.h>

#include <algorithm>
#include <utility>

namespace braid {

std::string CollectiveEntry::name() const {
    return fmt::format("{} {} of {}{}", to_string(kind), sequence, axis, label.empty() ? "" : ": " + label);
}

int64_t CollectiveLog::begin(const std::string& axis, CollectiveEntry::Ranks members, int64_t sequence,
                             CollectiveKind kind, int64_t bytes_sent) {
    const auto now = CollectiveEntry::Clock::now();
    if (time_to_ask()) end_completed(); // where no watchdog does
    const std::lock_guard lock(mutex_);
    const int64_t id = next_id_++;
    pending_.emplace_hint(pending_.end(), id,
                          CollectiveEntry{.id = id,
                                          .axis = axis,
                                          .members = std::move(members),
                                          .sequence = sequence,
                                          .kind = kind,
                                          .bytes_sent = bytes_sent,
                                          .label = label_,
                                          .start = now,
                                          .missing = {}});
    Traffic& traffic = traffic_[{axis, kind}];
    ++traffic.calls;
    traffic.bytes_sent += bytes_sent;
    return id;
}

void CollectiveLog::waiting(int64_t id, std::vector<int> missing) {
    const std::lock_guard lock(mutex_);
    CollectiveEntry& entry = pending_.at(id);
    entry.waited_for = true;
    entry.missing = std::move(missing);
}

void CollectiveLog::end(int64_t id) {
    const std::lock_guard lock(mutex_);
    end_locked(id);
}

void CollectiveLog::end_when(int64_t id, std::function<bool()> completed) {
    const std::lock_guard lock(mutex_);
    pending_.at(id).waited_for = true;
    completed_[id] = std::move(completed);
}

bool CollectiveLog::time_to_ask() const {
    const std::lock_guard lock(mutex_);
    return completed_.size() >= kKept && next_id_ % static_cast<int64_t>(kKept) == 0;
}

void CollectiveLog::end_completed() {
    std::map<int64_t, std::function<bool()>> asked;
    {
        const std::lock_guard lock(mutex_);
        asked = completed_;
    }
    for (const auto& [id, completed] : asked) {
        if (!completed()) continue;
        const std::lock_guard lock(mutex_);
        if (completed_.erase(id)) end_locked(id);
    }
}

void CollectiveLog::end_locked(int64_t id) {
    const auto found = pending_.find(id);
    if (found == pending_.end()) return;
    CollectiveEntry& entry = found->second;
    entry.done = true;
    entry.waited_for = false;
    entry.missing.clear();
    done_.push_back(std::move(entry));
    if (done_.size() > kKept) done_.pop_front();
    pending_.erase(found);
}

std::string CollectiveLog::label() const {
    const std::lock_guard lock(mutex_);
    return label_;
}

std::optional<CollectiveEntry> CollectiveLog::waited_for() const {
    const std::lock_guard lock(mutex_);
    for (const auto& [id, entry] : pending_)
        if (entry.waited_for) return entry;
    return std::nullopt;
}

std::vector<CollectiveEntry> CollectiveLog::recent() const {
    std::vector<CollectiveEntry> entries;
    {
        const std::lock_guard lock(mutex_);
        entries.assign(done_.begin(), done_.end());
        for (const auto& [id, entry] : pending_) entries.push_back(entry);
    }
    std::sort(entries.begin(), entries.end(),
              [](const CollectiveEntry& a, const CollectiveEntry& b) { return a.id < b.id; });
    return entries;
}

std::map<std::pair<std::string, CollectiveKind>, Traffic> CollectiveLog::take_traffic() {
    const std::lock_guard lock(mutex_);
    return std::exchange(traffic_, {});
}

CollectiveLabel::CollectiveLabel(CollectiveLog* log, std::string_view what, std::string_view of) : log_(log) {
    if (!log_) return;
    const std::lock_guard lock(log_->mutex_);
    std::string& label = log_->label_;
    outer_length_ = label.size();
    if (!label.empty()) label += ", ";
    label += what;
    if (!of.empty()) (label += ' ') += of;
}

CollectiveLabel::~CollectiveLabel() {
    if (!log_) return;
    const std::lock_guard lock(log_->mutex_);
    log_->label_.resize(outer_length_);
}

} // namespace braid

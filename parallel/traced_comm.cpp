#include "parallel/traced_comm.h"

#include <algorithm>
#include <numeric>
#include <optional>
#include <tuple>
#include <typeinfo>

#include "base/error.h"
#include "base/rng.h"
#include "tensor/memory/host_wait.h"

namespace braid {
namespace {

// Between two looks at who is missing.
constexpr std::chrono::milliseconds kSlice{50};

/// Ends an entry of the log however its collective ends.
class OpenEntry {
  public:
    OpenEntry(CollectiveLog& log, int64_t id) : log_(log), id_(id) {}
    ~OpenEntry() { end(); }
    OpenEntry(const OpenEntry&) = delete;
    OpenEntry& operator=(const OpenEntry&) = delete;

    void end() {
        if (!ended_) log_.end(id_);
        ended_ = true;
    }
    /// Leaves the end to the log.
    void end_when(std::function<bool()> completed) {
        log_.end_when(id_, std::move(completed));
        ended_ = true;
    }
    bool ended() const { return ended_; }
    void waiting(std::vector<int> missing) { log_.waiting(id_, std::move(missing)); }

    /// Runs `body`, and adds to a failure of the transport what it was about.
    template <typename Body>
    auto explain(Body&& body) const {
        try {
            return body();
        } catch (const CommError& error) {
            // A kind derived from it says that another rank is the cause; it passes as it is.
            if (typeid(error) != typeid(CommError)) throw;
            throw CommError("{}: {}", name(), error.what());
        }
    }

  private:
    std::string name() const {
        for (const CollectiveEntry& entry : log_.recent())
            if (entry.id == id_) return entry.name();
        return "a collective";
    }

    CollectiveLog& log_;
    const int64_t id_;
    bool ended_ = false;
};

class TracedPending : public Pending {
  public:
    TracedPending(CollectiveEntry::Ranks members, std::unique_ptr<OpenEntry> entry)
        : members_(std::move(members)), entry_(std::move(entry)) {}

    template <typename Start>
    void start(Start&& start) {
        inner_ = entry_->explain(start);
        if (auto completion = inner_->completion()) {
            entry_->end_when(std::move(completion));
            on_device_ = true;
        }
    }

    bool poll() override { return wait_for(std::chrono::nanoseconds(0)); }
    bool wait_for(std::chrono::nanoseconds time) override {
        if (on_device_) return entry_->explain([&] { return inner_->wait_for(time); });
        if (entry_->ended()) return true;
        const bool done = entry_->explain([&] { return inner_->wait_for(time); });
        if (done) entry_->end();
        return done;
    }
    void wait() override {
        if (on_device_) return entry_->explain([&] { inner_->wait(); });
        if (poll()) return;
        do entry_->waiting(in_world(entry_->explain([&] { return inner_->missing(); })));
        while (!wait_for(kSlice));
    }
    std::function<bool()> completion() override { return inner_->completion(); }
    std::vector<int> missing() override {
        return entry_->ended() && !on_device_ ? std::vector<int>{}
                                              : entry_->explain([&] { return inner_->missing(); });
    }

  private:
    std::vector<int> in_world(std::vector<int> ranks) const {
        for (int& rank : ranks) rank = (*members_)[static_cast<size_t>(rank)];
        return ranks;
    }

    const CollectiveEntry::Ranks members_;
    std::unique_ptr<OpenEntry> entry_; // ends after inner_, which the destructor takes first
    std::unique_ptr<Pending> inner_;
    bool on_device_ = false;
};

class TracedCommunicator : public Communicator {
  public:
    TracedCommunicator(std::unique_ptr<Communicator> inner, CollectiveLog& log, std::string axis,
                       CollectiveEntry::Ranks members)
        : TracedCommunicator(*inner, log, std::move(axis), std::move(members)) {
        owned_ = std::move(inner);
    }
    /// Of a communicator that somebody else owns.
    TracedCommunicator(Communicator& inner, CollectiveLog& log, std::string axis,
                       CollectiveEntry::Ranks members)
        : inner_(&inner), log_(log), axis_(std::move(axis)), members_(std::move(members)) {
        if (inner_->is_on_device()) health_.emplace([this] { expect_healthy(); });
    }

    int rank() const override { return inner_->rank(); }
    int size() const override { return inner_->size(); }
    CollectiveLog* log() override { return &log_; }
    bool is_on_device() const override { return inner_->is_on_device(); }
    void expect_healthy() override {
        try {
            inner_->expect_healthy();
        } catch (const CommError& error) {
            const auto first = log_.waited_for();
            throw CommError("{}: {}", first ? first->name() : axis_, error.what());
        }
    }
    Communicator* on_device() override {
        Communicator* device = inner_->on_device();
        if (device && !on_device_)
            on_device_ = std::make_unique<TracedCommunicator>(*device, log_, axis_, members_);
        return on_device_.get();
    }

    std::unique_ptr<Pending> all_to_all(const void* send, std::span<const int64_t> send_bytes, void* receive,
                                        std::span<const int64_t> receive_bytes) override {
        const int64_t all = std::accumulate(send_bytes.begin(), send_bytes.end(), int64_t{0});
        return trace(CollectiveKind::all_to_all, all - send_bytes[static_cast<size_t>(rank())],
                     [&] { return inner_->all_to_all(send, send_bytes, receive, receive_bytes); });
    }

    std::unique_ptr<Pending> all_gather(const void* send, void* receive,
                                        std::span<const int64_t> bytes) override {
        return trace(CollectiveKind::all_gather, bytes[static_cast<size_t>(rank())] * (size() - 1),
                     [&] { return inner_->all_gather(send, receive, bytes); });
    }

    std::unique_ptr<Pending> all_reduce_any_order(void* values, int64_t count, DType dtype) override {
        // How the library moves them is its own affair; this is what the best algorithms send.
        const int64_t bytes = count * static_cast<int64_t>(size_of(dtype));
        return trace(CollectiveKind::all_reduce, 2 * bytes * (size() - 1) / size(),
                     [&] { return inner_->all_reduce_any_order(values, count, dtype); });
    }

    std::unique_ptr<Communicator> split(int color, int key, const std::string& axis) override;

  private:
    std::vector<int> others() const {
        std::vector<int> ranks = *members_;
        ranks.erase(ranks.begin() + rank());
        return ranks;
    }

    std::unique_ptr<OpenEntry> open(CollectiveKind kind, int64_t bytes_sent) {
        inner_->set_operation(stable_hash(log_.label()) + static_cast<uint64_t>(kind));
        return std::make_unique<OpenEntry>(log_, log_.begin(axis_, members_, sequence_++, kind, bytes_sent));
    }

    template <typename Start>
    std::unique_ptr<Pending> trace(CollectiveKind kind, int64_t bytes_sent, Start&& start) {
        if (size() == 1) return start();
        auto entry = open(kind, bytes_sent);
        // To start may be to wait for the others there, and later nobody can tell for whom.
        if (inner_->is_on_device()) entry->waiting(others());
        auto pending = std::make_unique<TracedPending>(members_, std::move(entry));
        pending->start(start);
        return pending;
    }

    std::unique_ptr<Communicator> owned_;
    Communicator* inner_;
    std::unique_ptr<Communicator> on_device_;
    CollectiveLog& log_;
    const std::string axis_;
    const CollectiveEntry::Ranks members_; // as ranks of the world
    int64_t sequence_ = 0;
    std::optional<HostWaitCheck> health_; // of one on a GPU
};

// A split may block inside the library, where nobody can see for whom; so the ranks meet in a gather first.
std::unique_ptr<Communicator> TracedCommunicator::split(int color, int key, const std::string& axis) {
    const std::array<int64_t, 2> mine{color, key};
    std::vector<std::array<int64_t, 2>> all(static_cast<size_t>(size()));
    const std::vector<int64_t> bytes(all.size(), sizeof mine);
    all_gather(&mine, all.data(), bytes)->wait();
    std::vector<std::pair<int64_t, int>> group; // (key, rank here)
    for (size_t r = 0; r < all.size(); ++r)
        if (all[r][0] == color) group.emplace_back(all[r][1], static_cast<int>(r));
    std::sort(group.begin(), group.end());
    auto members = std::make_shared<std::vector<int>>();
    for (const auto& [other_key, r] : group) members->push_back((*members_)[static_cast<size_t>(r)]);
    if (size() == 1)
        return std::make_unique<TracedCommunicator>(inner_->split(color, key, axis), log_, axis, members);
    const auto entry = open(CollectiveKind::split, 0);
    entry->waiting({});
    return entry->explain([&] {
        return std::make_unique<TracedCommunicator>(inner_->split(color, key, axis), log_, axis, members);
    });
}

} // namespace

std::unique_ptr<Communicator> traced_communicator(std::unique_ptr<Communicator> inner, CollectiveLog& log,
                                                  std::string axis) {
    auto members = std::make_shared<std::vector<int>>(static_cast<size_t>(inner->size()));
    std::iota(members->begin(), members->end(), 0);
    return std::make_unique<TracedCommunicator>(std::move(inner), log, std::move(axis), std::move(members));
}

} // namespace braid

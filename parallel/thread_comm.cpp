#include "parallel/thread_comm.h"

#include <condition_variable>
#include <cstring>
#include <exception>
#include <map>
#include <mutex>
#include <optional>
#include <thread>

#include "base/error.h"

#if BRAID_OPENMP
#include <omp.h>
#endif

namespace braid {
namespace {

/// A consequence of another rank's failure, so that run_thread_ranks can tell it from the cause.
class AbortedError : public CommError {
  public:
    using CommError::CommError;
};

using Bytes = std::vector<std::byte>;

struct Message {
    Bytes bytes;
    uint64_t operation; // of the sender
};

/// What the ranks of all groups share: messages on their way, and whether some rank has failed.
struct World {
    struct Key { // of a message
        int64_t group, sequence;
        int from, to;
        auto operator<=>(const Key&) const = default;
    };
    std::mutex mutex;
    std::condition_variable arrived;
    std::map<Key, Message> messages;
    std::map<std::vector<int64_t>, int64_t> group_numbers; // (parent group, split count, colour) -> group
    bool failed = false;
    std::chrono::seconds limit;
};

class ThreadCommunicator : public Communicator {
  public:
    ThreadCommunicator(World& world, int64_t group, int rank, int size)
        : world_(world), group_(group), rank_(rank), size_(size) {}

    int rank() const override { return rank_; }
    int size() const override { return size_; }

    std::unique_ptr<Pending> all_to_all(const void* send, std::span<const int64_t> send_bytes, void* receive,
                                        std::span<const int64_t> receive_bytes) override {
        const auto* from = static_cast<const std::byte*>(send);
        std::vector<Bytes> parts;
        for (int64_t bytes : send_bytes) {
            parts.emplace_back(from, from + bytes);
            from += bytes;
        }
        return start(std::move(parts), receive, receive_bytes);
    }

    std::unique_ptr<Pending> all_gather(const void* send, void* receive,
                                        std::span<const int64_t> bytes) override {
        const auto* from = static_cast<const std::byte*>(send);
        const Bytes part(from, from + bytes[static_cast<size_t>(rank_)]);
        return start(std::vector<Bytes>(static_cast<size_t>(size_), part), receive, bytes);
    }

    std::unique_ptr<Pending> all_reduce_any_order(void* values, int64_t count, DType dtype) override {
        const int64_t bytes = count * static_cast<int64_t>(size_of(dtype));
        const std::vector<int64_t> sizes(static_cast<size_t>(size_), bytes);
        auto reduce = std::make_unique<Reduce>(static_cast<size_t>(bytes * size_), values, count, dtype);
        reduce->start(all_gather(values, reduce->parts(), sizes));
        return reduce;
    }

    void set_operation(uint64_t operation) override { operation_ = operation; }

    std::unique_ptr<Communicator> split(int color, int key, const std::string&) override {
        std::vector<int64_t> mine = {color, key}, all(static_cast<size_t>(size_) * 2);
        const std::vector<int64_t> sizes(static_cast<size_t>(size_), 16);
        const int64_t number = sequence_;
        all_gather(mine.data(), all.data(), sizes)->wait();
        int rank = 0, size = 0;
        for (int r = 0; r < size_; ++r) {
            if (all[static_cast<size_t>(2 * r)] != color) continue;
            ++size;
            const auto other = std::pair(all[static_cast<size_t>(2 * r + 1)], r);
            rank += other < std::pair<int64_t, int>(key, rank_);
        }
        const std::lock_guard lock(world_.mutex);
        const auto next = static_cast<int64_t>(world_.group_numbers.size()) + 1;
        const int64_t group = world_.group_numbers.try_emplace({group_, number, color}, next).first->second;
        return std::make_unique<ThreadCommunicator>(world_, group, rank, size);
    }

  private:
    class Receive : public Pending {
      public:
        Receive(ThreadCommunicator& comm, int64_t sequence, void* to, std::span<const int64_t> bytes)
            : comm_(comm),
              sequence_(sequence),
              to_(static_cast<std::byte*>(to)),
              bytes_(bytes.begin(), bytes.end()) {}
        bool poll() override { return wait_for(std::chrono::nanoseconds(0)); }
        void wait() override {
            while (!wait_for(comm_.world_.limit)) {
            }
        }
        bool wait_for(std::chrono::nanoseconds time) override {
            std::unique_lock lock(comm_.world_.mutex);
            if (take_arrived()) return true;
            const auto start = std::chrono::steady_clock::now();
            comm_.world_.arrived.wait_for(lock, time, [&] { return take_arrived() || comm_.world_.failed; });
            if (next_ == comm_.size_) return true;
            if (comm_.world_.failed) throw AbortedError("rank {}: another rank failed", comm_.rank_);
            waited_ += std::chrono::steady_clock::now() - start;
            if (waited_ >= comm_.world_.limit)
                throw CommError("rank {} waited {} s in collective {} of group {} for rank {}", comm_.rank_,
                                comm_.world_.limit.count(), sequence_, comm_.group_, next_);
            return false;
        }
        std::vector<int> missing() override {
            const std::lock_guard lock(comm_.world_.mutex);
            std::vector<int> ranks;
            for (int from = next_; from < comm_.size_; ++from)
                if (!comm_.world_.messages.contains({comm_.group_, sequence_, from, comm_.rank_}))
                    ranks.push_back(from);
            return ranks;
        }

      private:
        /// Copies what has come from rank next_ on; true when all is there. Holds the lock.
        bool take_arrived() {
            for (; next_ < comm_.size_; ++next_) {
                const auto found = comm_.world_.messages.find({comm_.group_, sequence_, next_, comm_.rank_});
                if (found == comm_.world_.messages.end()) return false;
                const auto expected = static_cast<size_t>(bytes_[static_cast<size_t>(next_)]);
                const auto& [bytes, operation] = found->second;
                if (operation != operation_)
                    throw CommError("collective {}: rank {} of the group does not do what rank {} does",
                                    sequence_, next_, comm_.rank_);
                if (bytes.size() != expected)
                    throw CommError("collective {}: rank {} expected {} bytes of rank {} and got {}",
                                    sequence_, comm_.rank_, expected, next_, bytes.size());
                if (expected > 0) std::memcpy(to_, bytes.data(), expected);
                to_ += expected;
                comm_.world_.messages.erase(found);
            }
            return true;
        }

        ThreadCommunicator& comm_;
        const int64_t sequence_;
        const uint64_t operation_ = comm_.operation_;
        std::byte* to_;
        const std::vector<int64_t> bytes_;
        int next_ = 0;
        std::chrono::nanoseconds waited_{0};
    };

    /// Adds the gathered parts when the last has come.
    class Reduce : public Pending {
      public:
        Reduce(size_t bytes, void* values, int64_t count, DType dtype)
            : parts_(bytes), values_(values), count_(count), dtype_(dtype) {}
        void* parts() { return parts_.data(); }
        void start(std::unique_ptr<Pending> gather) { gather_ = std::move(gather); }

        bool poll() override { return wait_for(std::chrono::nanoseconds(0)); }
        void wait() override {
            gather_->wait();
            add();
        }
        bool wait_for(std::chrono::nanoseconds time) override {
            const bool done = gather_->wait_for(time);
            if (done) add();
            return done;
        }
        std::vector<int> missing() override { return gather_->missing(); }

      private:
        void add() {
            if (parts_.empty()) return;
            dispatch_float(dtype_, [&]<typename T>() {
                const T* parts = reinterpret_cast<const T*>(parts_.data());
                T* sums = static_cast<T*>(values_);
                const auto num_ranks = static_cast<int64_t>(parts_.size() / sizeof(T)) / count_;
                for (int64_t i = 0; i < count_; ++i) {
                    sums[i] = parts[i];
                    for (int64_t r = 1; r < num_ranks; ++r) sums[i] += parts[r * count_ + i];
                }
            });
            parts_.clear(); // waiting again is allowed
        }

        Bytes parts_;
        void* const values_;
        const int64_t count_;
        const DType dtype_;
        std::unique_ptr<Pending> gather_;
    };

    // Messages are copied when sent, so a sender never waits for its receivers.
    std::unique_ptr<Pending> start(std::vector<Bytes> parts, void* receive, std::span<const int64_t> bytes) {
        const int64_t sequence = sequence_++;
        {
            const std::lock_guard lock(world_.mutex);
            for (int to = 0; to < size_; ++to)
                world_.messages[{group_, sequence, rank_, to}] = {std::move(parts[static_cast<size_t>(to)]),
                                                                  operation_};
        }
        world_.arrived.notify_all();
        return std::make_unique<Receive>(*this, sequence, receive, bytes);
    }

    World& world_;
    const int64_t group_;
    const int rank_, size_;
    int64_t sequence_ = 0;
    uint64_t operation_ = 0;
};

} // namespace

void run_thread_ranks(int num_ranks, const std::function<void(Communicator&)>& body,
                      std::chrono::seconds limit) {
    World world;
    world.limit = limit;
    std::exception_ptr cause, consequence;
    const auto fail = [&](std::exception_ptr& slot) {
        {
            const std::lock_guard lock(world.mutex);
            if (!slot) slot = std::current_exception();
            world.failed = true;
        }
        world.arrived.notify_all();
    };
    std::vector<std::thread> threads;
    for (int rank = 0; rank < num_ranks; ++rank) {
        threads.emplace_back([&, rank] {
#if BRAID_OPENMP
            omp_set_num_threads(1);
#endif
            ThreadCommunicator comm(world, 0, rank, num_ranks);
            try {
                body(comm);
            } catch (const AbortedError&) {
                fail(consequence);
            } catch (...) {
                fail(cause);
            }
        });
    }
    for (std::thread& thread : threads) thread.join();
    if (cause) std::rethrow_exception(cause);
    if (consequence) std::rethrow_exception(consequence);
}

} // namespace braid

#include "parallel/mpi_comm.h"

#if BRAID_MPI

#include <sched.h>

#include <algorithm>
#include <cstring>
#include <set>
#include <thread>

#include "base/error.h"

namespace braid {
namespace {

constexpr int64_t kMaxMessageBytes = int64_t{1} << 30;
// Waiting ranks give their core away at once, and after this long they sleep a little at a time as well.
constexpr std::chrono::milliseconds kYieldingTime{20};
constexpr std::chrono::microseconds kSleep{50};

/// The tag of a collective's messages. Messages of one pair of ranks and one tag arrive in the order they
/// were sent, so tags need not differ; that they do keeps ranks apart that do different things. Every MPI has
/// tags up to 32767.
int tag_of(uint64_t sequence, uint64_t operation) {
    const uint64_t mixed = (sequence ^ operation) * 0x9e3779b97f4a7c15u;
    return static_cast<int>(mixed >> 49);
}

void expect_success(int code, const std::string& call) {
    if (code == MPI_SUCCESS) return;
    char text[MPI_MAX_ERROR_STRING];
    int length = 0;
    MPI_Error_string(code, text, &length);
    throw CommError("{} failed: {}", call, std::string(text, static_cast<size_t>(length)));
}

class MpiPending : public Pending {
  public:
    MpiPending(MPI_Comm group, int tag) : group_(group), tag_(tag) {}

    bool poll() override {
        if (messages_.empty()) return true;
        int done = 0;
        statuses_.resize(requests_.size());
        expect_messages(MPI_Testall(count(), requests_.data(), &done, statuses_.data()));
        if (done) finish();
        return done != 0;
    }
    void wait() override {
        if (messages_.empty()) return;
        statuses_.resize(requests_.size());
        expect_messages(MPI_Waitall(count(), requests_.data(), statuses_.data()));
        finish();
    }
    bool wait_for(std::chrono::nanoseconds time) override {
        const auto start = std::chrono::steady_clock::now();
        std::chrono::nanoseconds waited{0};
        while (!poll()) {
            if (waited >= time) {
                waited_ += waited;
                return false;
            }
            if (waited_ + waited < kYieldingTime)
                sched_yield();
            else
                std::this_thread::sleep_for(kSleep);
            waited = std::chrono::steady_clock::now() - start;
        }
        return true;
    }
    std::vector<int> missing() override {
        std::set<int> ranks;
        bool in_library = false;
        for (size_t i = 0; i < messages_.size(); ++i) {
            if (requests_[i] == MPI_REQUEST_NULL) continue;
            int done = 0;
            MPI_Status status;
            expect_success(MPI_Test(&requests_[i], &done, &status), "MPI_Test");
            if (done) {
                expect_size(messages_[i], status);
                messages_[i].bytes = kUnknown; // the status of a second test is empty
            } else if (messages_[i].peer == kAll) {
                in_library = true;
            } else {
                ranks.insert(messages_[i].peer);
            }
        }
        if (in_library && ranks.empty()) ranks = all_others();
        return {ranks.begin(), ranks.end()};
    }

    void send(const std::byte* from, int64_t bytes, int to) {
        for (int64_t at = 0; at < bytes; at += kMaxMessageBytes) send_part(from + at, part(bytes, at), to);
    }
    void receive(std::byte* into, int64_t bytes, int from) {
        for (int64_t at = 0; at < bytes; at += kMaxMessageBytes)
            receive_part(into + at, part(bytes, at), from);
    }
    /// A message without content: the other rank has got this far.
    void greet(int other) {
        receive_part(nullptr, 0, other);
        send_part(nullptr, 0, other);
    }
    void all_reduce(void* values, int64_t count, DType dtype) {
        const MPI_Datatype type = dtype == DType::f32 ? MPI_FLOAT : MPI_DOUBLE;
        const auto element = static_cast<int64_t>(size_of(dtype)), most = kMaxMessageBytes / element;
        for (int64_t at = 0; at < count; at += most)
            expect_success(MPI_Iallreduce(MPI_IN_PLACE, static_cast<std::byte*>(values) + at * element,
                                          static_cast<int>(std::min(most, count - at)), type, MPI_SUM, group_,
                                          next(kAll, kUnknown)),
                           "MPI_Iallreduce");
    }

  private:
    static constexpr int kAll = -1, kUnknown = -1;

    struct Message {
        int peer;  // or kAll, if the library knows
        int bytes; // expected to arrive, or kUnknown
    };

    std::set<int> all_others() const {
        int size = 0, self = 0;
        MPI_Comm_size(group_, &size);
        MPI_Comm_rank(group_, &self);
        std::set<int> ranks;
        for (int rank = 0; rank < size; ++rank)
            if (rank != self) ranks.insert(rank);
        return ranks;
    }
    static int part(int64_t bytes, int64_t at) {
        return static_cast<int>(std::min(kMaxMessageBytes, bytes - at));
    }
    int count() const { return static_cast<int>(requests_.size()); }
    MPI_Request* next(int peer, int bytes) {
        messages_.push_back({peer, bytes});
        return &requests_.emplace_back(MPI_REQUEST_NULL);
    }
    void send_part(const std::byte* from, int bytes, int to) {
        expect_success(MPI_Isend(from, bytes, MPI_BYTE, to, tag_, group_, next(to, kUnknown)), "MPI_Isend");
    }
    void receive_part(std::byte* into, int bytes, int from) {
        expect_success(MPI_Irecv(into, bytes, MPI_BYTE, from, tag_, group_, next(from, bytes)), "MPI_Irecv");
    }

    void expect_messages(int code) const {
        for (size_t i = 0; code == MPI_ERR_IN_STATUS && i < messages_.size(); ++i)
            if (const int error = statuses_[i].MPI_ERROR; error != MPI_SUCCESS && error != MPI_ERR_PENDING)
                expect_success(error,
                               messages_[i].peer == kAll
                                   ? "the sum"
                                   : fmt::format("the message of rank {} of the group", messages_[i].peer));
        expect_success(code, "waiting for messages");
    }
    /// A shorter message than its buffer is no error to MPI.
    static void expect_size(const Message& message, const MPI_Status& status) {
        if (message.bytes == kUnknown) return;
        int bytes = 0;
        MPI_Get_count(&status, MPI_BYTE, &bytes);
        if (bytes != message.bytes)
            throw CommError("expected {} bytes of rank {} of the group and got {}", message.bytes,
                            message.peer, bytes);
    }
    void finish() {
        for (size_t i = 0; i < messages_.size(); ++i) expect_size(messages_[i], statuses_[i]);
        messages_.clear();
        requests_.clear();
    }

    const MPI_Comm group_;
    const int tag_;
    std::vector<MPI_Request> requests_;
    std::vector<Message> messages_; // one per request
    std::vector<MPI_Status> statuses_;
    std::chrono::nanoseconds waited_{0};
};

class MpiCommunicator : public Communicator {
  public:
    explicit MpiCommunicator(MPI_Comm group) {
        expect_success(MPI_Comm_dup(group, &group_), "MPI_Comm_dup");
        expect_success(MPI_Comm_set_errhandler(group_, MPI_ERRORS_RETURN), "MPI_Comm_set_errhandler");
        MPI_Comm_rank(group_, &rank_);
        MPI_Comm_size(group_, &size_);
    }
    ~MpiCommunicator() override { MPI_Comm_free(&group_); }

    int rank() const override { return rank_; }
    int size() const override { return size_; }

    std::unique_ptr<Pending> all_to_all(const void* send, std::span<const int64_t> send_bytes, void* receive,
                                        std::span<const int64_t> receive_bytes) override {
        const auto send_at = starts(send_bytes), receive_at = starts(receive_bytes);
        return start(receive, receive_bytes, [&](int to) {
            return std::span(static_cast<const std::byte*>(send) + send_at[static_cast<size_t>(to)],
                             static_cast<size_t>(send_bytes[static_cast<size_t>(to)]));
        });
    }

    std::unique_ptr<Pending> all_gather(const void* send, void* receive,
                                        std::span<const int64_t> bytes) override {
        const auto mine = std::span(static_cast<const std::byte*>(send),
                                    static_cast<size_t>(bytes[static_cast<size_t>(rank_)]));
        return start(receive, bytes, [&](int) { return mine; });
    }

    std::unique_ptr<Pending> all_reduce_any_order(void* values, int64_t count, DType dtype) override {
        check(dtype == DType::f32 || dtype == DType::f64, "MPI adds f32 and f64 here, not {}",
              name_of(dtype));
        auto pending = start();
        // The library does not tell whom it waits for; so much is known of those that have not begun.
        for (int step = 1; step < size_; ++step) pending->greet((rank_ + step) % size_);
        pending->all_reduce(values, count, dtype);
        return pending;
    }

    void set_operation(uint64_t operation) override { operation_ = operation; }

    std::unique_ptr<Communicator> split(int color, int key, const std::string&) override {
        MPI_Comm part = MPI_COMM_NULL;
        expect_success(MPI_Comm_split(group_, color, key, &part), "MPI_Comm_split");
        auto result = std::make_unique<MpiCommunicator>(part);
        MPI_Comm_free(&part);
        return result;
    }

  private:
    static std::vector<int64_t> starts(std::span<const int64_t> bytes) {
        std::vector<int64_t> at(bytes.size(), 0);
        for (size_t i = 1; i < bytes.size(); ++i) at[i] = at[i - 1] + bytes[i - 1];
        return at;
    }

    std::unique_ptr<MpiPending> start() {
        return std::make_unique<MpiPending>(group_, tag_of(sequence_++, operation_));
    }

    /// Posts all receives, then all sends, nearest rank first so that not every rank starts with rank 0.
    template <typename PartFor>
    std::unique_ptr<Pending> start(void* receive, std::span<const int64_t> receive_bytes,
                                   PartFor&& part_for) {
        auto pending = start();
        const auto at = starts(receive_bytes);
        const auto place = [&](int r) {
            return static_cast<std::byte*>(receive) + at[static_cast<size_t>(r)];
        };
        for (int step = 1; step < size_; ++step) {
            const int from = (rank_ + size_ - step) % size_;
            pending->receive(place(from), receive_bytes[static_cast<size_t>(from)], from);
        }
        for (int step = 1; step < size_; ++step) {
            const int to = (rank_ + step) % size_;
            const auto part = part_for(to);
            pending->send(part.data(), static_cast<int64_t>(part.size()), to);
        }
        const auto own = part_for(rank_);
        if (!own.empty() && own.data() != place(rank_)) std::memcpy(place(rank_), own.data(), own.size());
        return pending;
    }

    MPI_Comm group_ = MPI_COMM_NULL;
    int rank_ = 0, size_ = 1;
    uint64_t sequence_ = 0, operation_ = 0;
};

} // namespace

std::unique_ptr<Communicator> mpi_communicator(MPI_Comm group) {
    return std::make_unique<MpiCommunicator>(group);
}

} // namespace braid

#endif

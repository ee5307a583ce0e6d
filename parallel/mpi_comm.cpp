#include "parallel/mpi_comm.h"

#if BRAID_MPI

#include <algorithm>
#include <cstring>

#include "base/error.h"

namespace braid {
namespace {

constexpr int64_t kMaxMessageBytes = int64_t{1} << 30;
// Messages of one pair of ranks on one communicator arrive in the order they were sent, so one tag serves
// all.
constexpr int kTag = 0;

void expect_success(int code, const char* call) {
    if (code == MPI_SUCCESS) return;
    char text[MPI_MAX_ERROR_STRING];
    int length = 0;
    MPI_Error_string(code, text, &length);
    throw CommError("{} failed: {}", call, std::string(text, static_cast<size_t>(length)));
}

class MpiPending : public Pending {
  public:
    bool poll() override {
        int done = 0;
        expect_success(MPI_Testall(count(), requests_.data(), &done, MPI_STATUSES_IGNORE), "MPI_Testall");
        return done != 0;
    }
    void wait() override {
        expect_success(MPI_Waitall(count(), requests_.data(), MPI_STATUSES_IGNORE), "MPI_Waitall");
    }

    void send(const std::byte* from, int64_t bytes, int to, MPI_Comm group) {
        for (int64_t at = 0; at < bytes; at += kMaxMessageBytes)
            expect_success(MPI_Isend(from + at, piece(bytes, at), MPI_BYTE, to, kTag, group, next()),
                           "MPI_Isend");
    }
    void receive(std::byte* into, int64_t bytes, int from, MPI_Comm group) {
        for (int64_t at = 0; at < bytes; at += kMaxMessageBytes)
            expect_success(MPI_Irecv(into + at, piece(bytes, at), MPI_BYTE, from, kTag, group, next()),
                           "MPI_Irecv");
    }

    void all_reduce(void* values, int64_t count, DType dtype, MPI_Comm group) {
        const MPI_Datatype type = dtype == DType::f32 ? MPI_FLOAT : MPI_DOUBLE;
        const auto element = static_cast<int64_t>(size_of(dtype)), most = kMaxMessageBytes / element;
        for (int64_t at = 0; at < count; at += most)
            expect_success(
                MPI_Iallreduce(MPI_IN_PLACE, static_cast<std::byte*>(values) + at * element,
                               static_cast<int>(std::min(most, count - at)), type, MPI_SUM, group, next()),
                "MPI_Iallreduce");
    }

  private:
    static int piece(int64_t bytes, int64_t at) {
        return static_cast<int>(std::min(kMaxMessageBytes, bytes - at));
    }
    int count() const { return static_cast<int>(requests_.size()); }
    MPI_Request* next() { return &requests_.emplace_back(MPI_REQUEST_NULL); }

    std::vector<MPI_Request> requests_;
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
        auto pending = std::make_unique<MpiPending>();
        pending->all_reduce(values, count, dtype, group_);
        return pending;
    }

    std::unique_ptr<Communicator> split(int color, int key) override {
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

    /// Posts all receives, then all sends, nearest rank first so that not every rank starts with rank 0.
    template <typename PieceFor>
    std::unique_ptr<Pending> start(void* receive, std::span<const int64_t> receive_bytes,
                                   PieceFor&& piece_for) {
        auto pending = std::make_unique<MpiPending>();
        const auto at = starts(receive_bytes);
        const auto place = [&](int r) {
            return static_cast<std::byte*>(receive) + at[static_cast<size_t>(r)];
        };
        for (int step = 1; step < size_; ++step) {
            const int from = (rank_ + size_ - step) % size_;
            pending->receive(place(from), receive_bytes[static_cast<size_t>(from)], from, group_);
        }
        for (int step = 1; step < size_; ++step) {
            const int to = (rank_ + step) % size_;
            const auto piece = piece_for(to);
            pending->send(piece.data(), static_cast<int64_t>(piece.size()), to, group_);
        }
        const auto own = piece_for(rank_);
        if (!own.empty() && own.data() != place(rank_)) std::memcpy(place(rank_), own.data(), own.size());
        return pending;
    }

    MPI_Comm group_ = MPI_COMM_NULL;
    int rank_ = 0, size_ = 1;
};

} // namespace

std::unique_ptr<Communicator> mpi_communicator(MPI_Comm group) {
    return std::make_unique<MpiCommunicator>(group);
}

} // namespace braid

#endif

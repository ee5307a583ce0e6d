#include "parallel/cuda/nccl_comm.h"

#include <nccl.h>

#include <algorithm>
#include <cstring>
#include <thread>

#include "base/error.h"
#include "tensor/cuda/runtime.h"

namespace braid {
namespace {

// For the others to end a communicator too; who waits longer waits for one that is gone.
constexpr std::chrono::seconds kFarewell{10};

void expect_success(ncclResult_t code, const char* call) {
    if (code != ncclSuccess && code != ncclInProgress)
        throw CommError("{} failed: {}", call, ncclGetErrorString(code));
}

/// What a communicator says of itself; a communicator that does not block may have only begun what it was
/// asked for.
ncclResult_t state_of(ncclComm_t comm) {
    ncclResult_t state = ncclSuccess;
    const ncclResult_t code = ncclCommGetAsyncError(comm, &state);
    return code == ncclSuccess ? state : code;
}

/// The state once it is not "in progress". Whoever never comes is the watchdog's business.
ncclResult_t final_state(ncclComm_t comm) {
    ncclResult_t state = state_of(comm);
    for (; state == ncclInProgress; state = state_of(comm)) std::this_thread::yield();
    return state;
}

/// A handle that is shared by the collectives under way.
struct Handle {
    ncclComm_t comm = nullptr;
    mutable bool aborted = false;

    explicit Handle(ncclComm_t comm) : comm(comm) {}
    ~Handle() {
        if (aborted) return;
        // While an error unwinds, others may be gone, and an orderly end would wait for them.
        if (std::uncaught_exceptions() > 0 || !finalize())
            ncclCommAbort(comm);
        else
            ncclCommDestroy(comm);
    }
    Handle(const Handle&) = delete;
    Handle& operator=(const Handle&) = delete;

    /// A peer that failed, or a connection that broke, since the last look.
    void expect_healthy() const {
        if (aborted) throw CommError("NCCL: the communicator was given up after an error");
        const ncclResult_t state = state_of(comm);
        if (state != ncclSuccess && state != ncclInProgress) give_up(state);
    }

    /// Waits until what `call` has begun is done, before which nothing else may be asked of the communicator.
    /// Asks even after "success", with which NCCL 2.28 returns from a split that has only begun.
    void finish(ncclResult_t code, const char* call) const {
        if (code == ncclInProgress || code == ncclSuccess) code = final_state(comm);
        if (code == ncclSuccess) return;
        if (code == ncclRemoteError || code == ncclSystemError) give_up(code);
        expect_success(code, call);
    }

  private:
    [[noreturn]] void give_up(ncclResult_t state) const {
        ncclCommAbort(comm); // frees it: what it had under way would never end
        aborted = true;
        throw CommError("NCCL: {}", ncclGetErrorString(state));
    }
    /// Whether all it had under way has come to its end.
    bool finalize() const {
        const auto start = std::chrono::steady_clock::now();
        ncclResult_t state = ncclCommFinalize(comm);
        while (state == ncclInProgress && std::chrono::steady_clock::now() - start < kFarewell) {
            std::this_thread::yield();
            state = state_of(comm);
        }
        return state == ncclSuccess;
    }
};

class NcclPending : public Pending {
  public:
    NcclPending(std::shared_ptr<const Handle> handle, Event done, Stream compute, std::vector<int> others)
        : handle_(std::move(handle)),
          done_(std::move(done)),
          compute_(std::move(compute)),
          others_(std::move(others)) {}

    bool poll() override {
        handle_->expect_healthy();
        return done_.reached();
    }
    void wait() override {
        handle_->expect_healthy();
        done_.wait(compute_);
    }
    bool wait_for(std::chrono::nanoseconds time) override {
        const auto start = std::chrono::steady_clock::now();
        while (!poll()) {
            if (std::chrono::steady_clock::now() - start >= time) return false;
            std::this_thread::yield();
        }
        return true;
    }
    std::vector<int> missing() override { return done_.reached() ? std::vector<int>{} : others_; }
    std::function<bool()> completion() override {
        return [done = done_] { return done.reached_elsewhere(); };
    }

  private:
    const std::shared_ptr<const Handle> handle_;
    const Event done_;
    const Stream compute_;
    const std::vector<int> others_;
};

std::vector<int64_t> starts(std::span<const int64_t> bytes) {
    std::vector<int64_t> at(bytes.size(), 0);
    for (size_t i = 1; i < bytes.size(); ++i) at[i] = at[i - 1] + bytes[i - 1];
    return at;
}

class NcclCommunicator : public Communicator {
  public:
    NcclCommunicator(ncclComm_t comm, const Stream& compute, const Stream& stream)
        : handle_(std::make_shared<const Handle>(comm)), compute_(compute), stream_(stream) {
        expect_success(ncclCommUserRank(comm, &rank_), "ncclCommUserRank");
        expect_success(ncclCommCount(comm, &size_), "ncclCommCount");
    }

    int rank() const override { return rank_; }
    int size() const override { return size_; }
    bool is_on_device() const override { return true; }
    void expect_healthy() override { handle_->expect_healthy(); }

    std::unique_ptr<Pending> all_to_all(const void* send, std::span<const int64_t> send_bytes, void* receive,
                                        std::span<const int64_t> receive_bytes) override {
        const auto send_at = starts(send_bytes);
        return exchange(receive, receive_bytes, [&](int to) {
            const auto r = static_cast<size_t>(to);
            return std::span(static_cast<const std::byte*>(send) + send_at[r],
                             static_cast<size_t>(send_bytes[r]));
        });
    }

    std::unique_ptr<Pending> all_gather(const void* send, void* receive,
                                        std::span<const int64_t> bytes) override {
        const auto mine = static_cast<size_t>(bytes[static_cast<size_t>(rank_)]);
        const bool even = std::all_of(bytes.begin(), bytes.end(), [&](int64_t b) { return b == bytes[0]; });
        if (!even)
            return exchange(receive, bytes,
                            [&](int) { return std::span(static_cast<const std::byte*>(send), mine); });
        return run([&] {
            handle_->finish(ncclAllGather(send, receive, mine, ncclUint8, handle_->comm, native()),
                            "ncclAllGather");
        });
    }

    std::unique_ptr<Pending> all_reduce_any_order(void* values, int64_t count, DType dtype) override {
        check(dtype == DType::f32 || dtype == DType::f64, "NCCL adds f32 and f64 here, not {}",
              name_of(dtype));
        return run([&] {
            handle_->finish(ncclAllReduce(values, values, static_cast<size_t>(count),
                                          dtype == DType::f32 ? ncclFloat32 : ncclFloat64, ncclSum,
                                          handle_->comm, native()),
                            "ncclAllReduce");
        });
    }

    std::unique_ptr<Communicator> split(int color, int key, const std::string&) override {
        ncclComm_t part = nullptr; // until the split is done
        handle_->finish(ncclCommSplit(handle_->comm, color, key, &part, nullptr), "ncclCommSplit");
        expect_success(final_state(part), "ncclCommSplit");
        return std::make_unique<NcclCommunicator>(part, compute_, stream_);
    }

  private:
    cudaStream_t native() const { return static_cast<cudaStream_t>(stream_.native()); }

    /// Queues `body` behind what is queued for computing now.
    template <typename Body>
    std::unique_ptr<Pending> run(const Body& body) {
        handle_->expect_healthy();
        Event ready, done;
        ready.record(compute_);
        ready.wait(stream_);
        body();
        done.record(stream_);
        std::vector<int> others;
        for (int r = 0; r < size_; ++r)
            if (r != rank_) others.push_back(r);
        return std::make_unique<NcclPending>(handle_, std::move(done), compute_, std::move(others));
    }

    template <typename PartFor>
    std::unique_ptr<Pending> exchange(void* receive, std::span<const int64_t> receive_bytes,
                                      const PartFor& part_for) {
        return run([&] {
            const auto at = starts(receive_bytes);
            auto* into = static_cast<std::byte*>(receive);
            expect_success(ncclGroupStart(), "ncclGroupStart");
            for (int step = 1; step < size_; ++step) {
                const int to = (rank_ + step) % size_, from = (rank_ + size_ - step) % size_;
                const auto part = part_for(to);
                const auto coming = static_cast<size_t>(receive_bytes[static_cast<size_t>(from)]);
                if (!part.empty())
                    expect_success(ncclSend(part.data(), part.size(), ncclUint8, to, handle_->comm, native()),
                                   "ncclSend");
                if (coming > 0)
                    expect_success(ncclRecv(into + at[static_cast<size_t>(from)], coming, ncclUint8, from,
                                            handle_->comm, native()),
                                   "ncclRecv");
            }
            handle_->finish(ncclGroupEnd(), "ncclGroupEnd");
            const auto own = part_for(rank_);
            auto* place = into + at[static_cast<size_t>(rank_)];
            if (!own.empty() && own.data() != place)
                cuda::copy(place, own.data(), own.size(), stream_.native());
        });
    }

    const std::shared_ptr<const Handle> handle_;
    const Stream compute_, stream_;
    int rank_ = 0, size_ = 1;
};

} // namespace

int nccl_version() {
    int version = 0;
    expect_success(ncclGetVersion(&version), "ncclGetVersion");
    return version;
}

std::unique_ptr<Communicator> nccl_communicator(Communicator& control, const Stream& compute) {
    ncclUniqueId id{};
    if (control.rank() == 0) expect_success(ncclGetUniqueId(&id), "ncclGetUniqueId");
    std::vector<ncclUniqueId> all(static_cast<size_t>(control.size()));
    std::vector<int64_t> bytes(all.size(), 0);
    bytes[0] = sizeof id;
    control.all_gather(&id, all.data(), bytes)->wait();
    cuda::use_device(compute.device().index);
    ncclComm_t comm = nullptr;
    // One that blocks would keep an error of a peer to itself while the host sits in one of its calls.
    ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
    config.blocking = 0;
    const char* call = "ncclCommInitRankConfig";
    expect_success(ncclCommInitRankConfig(&comm, control.size(), all[0], control.rank(), &config), call);
    expect_success(final_state(comm), call);
    return std::make_unique<NcclCommunicator>(comm, compute, Stream(compute.device()));
}

} // namespace braid

#include <nccl.h>

#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <set>
#include <string>
#include <utility>

#include "tests/cuda_emulation/nccl_sockets.h"
#include "tests/cuda_emulation/queue.h"

using cuda_emulation::Mark;
using cuda_emulation::Message;
using cuda_emulation::Sockets;

namespace {

/// What a communicator shares with its collectives under way.
struct Shared {
    Shared(const std::string& name, int rank, int size) : sockets(name, rank, size) {}

    Sockets sockets;
    std::atomic<ncclResult_t> state{ncclSuccess};
    int splits = 0;
    bool blocking = true;
    int looks = 0;                   // of the host, after which what it has asked for is done
    std::function<void()> when_done; // what the caller sees only then
    Mark last;                       // behind all its collectives
};

/// A message whose memory is on the device.
struct DeviceMessage {
    bool is_send;
    int peer;
    void* device;
    size_t bytes;
};

} // namespace

struct NcclEmulation {
    std::shared_ptr<Shared> shared;
};

namespace {

// Of the thread's open group.
thread_local std::vector<DeviceMessage> group;
thread_local ncclComm_t group_comm = nullptr;
thread_local cudaStream_t group_stream = nullptr;
thread_local int depth = 0;
std::atomic<int> num_started{0};

std::set<ncclComm_t>& living() {
    static auto& all = *new std::set<ncclComm_t>; // outlives other statics
    return all;
}

/// NCCL would read memory that is gone.
const std::shared_ptr<Shared>& shared_of(ncclComm_t comm) {
    if (!living().contains(comm)) {
        std::fprintf(stderr, "CUDA emulation: NCCL: a communicator is used that was destroyed or aborted\n");
        std::abort();
    }
    return comm->shared;
}

/// The same for a new call, which must not come before the last one is done.
const std::shared_ptr<Shared>& idle(ncclComm_t comm) {
    const auto& shared = shared_of(comm);
    if (shared->looks > 0) {
        std::fprintf(stderr,
                     "CUDA emulation: NCCL: a call while another of the communicator is in progress\n");
        std::abort();
    }
    return shared;
}

/// What a call returns that has begun.
ncclResult_t begun(Shared& shared) {
    if (shared.blocking) return ncclSuccess;
    shared.looks = 3;
    return ncclInProgress;
}

/// BRAID_EMULATED_NCCL_ERROR=RANK:N: on that rank of every communicator an error after N collectives.
bool fails_now(int rank) {
    int of_rank = 0, after = 0;
    const char* given = std::getenv("BRAID_EMULATED_NCCL_ERROR");
    return given && std::sscanf(given, "%d:%d", &of_rank, &after) == 2 && rank == of_rank &&
           num_started >= after;
}

void copy(void* to, const void* from, size_t bytes) {
    const cuda_emulation::DeviceAccess access;
    std::memcpy(to, from, bytes);
}

size_t bytes_of(ncclDataType_t type) {
    return type == ncclUint8 ? 1 : type == ncclFloat32 ? 4 : 8;
}

ncclComm_t make(const std::string& name, int rank, int size) {
    auto* comm = new NcclEmulation{std::make_shared<Shared>(name, rank, size)};
    living().insert(comm);
    return comm;
}

/// Where a rank has gone nothing comes any more, until the communicator is aborted: so it is on a GPU.
void exchange(Shared& shared, std::vector<Message>& messages) {
    if (shared.sockets.exchange(messages)) return;
    shared.state = ncclRemoteError;
    while (!shared.sockets.aborted()) usleep(10'000);
}

template <typename Body>
ncclResult_t start(ncclComm_t comm, cudaStream_t stream, Body body) {
    const auto& shared = idle(comm);
    ++num_started;
    shared->last = cuda_emulation::push(stream, [shared, body = std::move(body)] { body(*shared); });
    return begun(*shared);
}

ncclResult_t start_group() {
    if (group.empty()) return ncclSuccess;
    return start(group_comm, group_stream, [parts = std::exchange(group, {})](Shared& shared) {
        std::vector<Message> messages;
        for (const DeviceMessage& part : parts) {
            messages.push_back({part.is_send, part.peer, std::vector<char>(part.bytes)});
            // Only now, so that whoever overwrites it too early is found out.
            if (part.is_send) copy(messages.back().bytes.data(), part.device, part.bytes);
        }
        exchange(shared, messages);
        if (shared.sockets.aborted()) return;
        for (size_t i = 0; i < parts.size(); ++i)
            if (!parts[i].is_send) copy(parts[i].device, messages[i].bytes.data(), parts[i].bytes);
    });
}

ncclResult_t add(ncclComm_t comm, cudaStream_t stream, DeviceMessage message) {
    const Sockets& sockets = idle(comm)->sockets;
    if (message.peer < 0 || message.peer >= sockets.size() || message.peer == sockets.rank())
        return ncclInvalidUsage;
    if (!group.empty() && (group_comm != comm || group_stream != stream)) return ncclInvalidUsage;
    group.push_back(message);
    group_comm = comm, group_stream = stream;
    return depth > 0 ? ncclSuccess : start_group();
}

/// Every rank's bytes, by rank.
std::vector<std::vector<char>> gather(Shared& shared, std::vector<char> mine) {
    std::vector<Message> messages;
    const int size = shared.sockets.size(), rank = shared.sockets.rank();
    for (int peer = 0; peer < size; ++peer) {
        if (peer == rank) continue;
        messages.push_back({true, peer, mine});
        messages.push_back({false, peer, std::vector<char>(mine.size())});
    }
    exchange(shared, messages);
    std::vector<std::vector<char>> all(static_cast<size_t>(size));
    for (Message& message : messages)
        if (!message.is_send) all[static_cast<size_t>(message.peer)] = std::move(message.bytes);
    all[static_cast<size_t>(rank)] = std::move(mine);
    return all;
}

template <typename T>
void add_up(const std::vector<std::vector<char>>& all, void* to, size_t count) {
    std::vector<T> sum(count), values(count);
    for (const std::vector<char>& bytes : all) {
        std::memcpy(values.data(), bytes.data(), bytes.size());
        for (size_t i = 0; i < count; ++i) sum[i] += values[i];
    }
    copy(to, sum.data(), count * sizeof(T));
}

} // namespace

const char* ncclGetErrorString(ncclResult_t code) {
    return code == ncclSuccess ? "no error" : code == ncclRemoteError ? "remote error" : "invalid usage";
}
ncclResult_t ncclGetUniqueId(ncclUniqueId* id) {
    static int number = 0;
    *id = {};
    std::snprintf(id->internal, sizeof id->internal, "nccl-%ld-%d", static_cast<long>(getpid()), number++);
    return ncclSuccess;
}
ncclResult_t ncclCommInitRankConfig(ncclComm_t* comm, int size, ncclUniqueId id, int rank,
                                    ncclConfig_t* config) {
    if (id.internal[0] != 'n') return ncclInvalidUsage;             // not handed out by rank 0
    const char* absent = std::getenv("BRAID_EMULATED_NCCL_ABSENT"); // a rank that never comes
    while (absent && std::atoi(absent) == rank) pause();
    *comm = make(id.internal, rank, size);
    (*comm)->shared->blocking = config->blocking != 0;
    return begun(*(*comm)->shared);
}
ncclResult_t ncclCommSplit(ncclComm_t comm, int color, int key, ncclComm_t* part, ncclConfig_t*) {
    const auto& shared = idle(comm);
    shared->last.wait();
    std::vector<char> mine(2 * sizeof(int));
    std::memcpy(mine.data(), std::array{color, key}.data(), mine.size());
    const auto all = gather(*shared, mine);
    std::vector<std::pair<int, int>> members; // key, rank
    for (size_t r = 0; r < all.size(); ++r) {
        std::array<int, 2> theirs{};
        std::memcpy(theirs.data(), all[r].data(), all[r].size());
        if (theirs[0] == color) members.emplace_back(theirs[1], static_cast<int>(r));
    }
    std::sort(members.begin(), members.end());
    const auto place = std::find(members.begin(), members.end(), std::pair(key, shared->sockets.rank()));
    const ncclComm_t made =
        make(shared->sockets.name() + "/" + std::to_string(shared->splits++) + "." + std::to_string(color),
             static_cast<int>(place - members.begin()), static_cast<int>(members.size()));
    made->shared->blocking = shared->blocking;
    // As NCCL 2.28 does: the new handle comes when the old one is done, which the code does not say.
    *part = shared->blocking ? made : nullptr;
    if (begun(*shared) == ncclInProgress) shared->when_done = [=] { *part = made; };
    return ncclSuccess;
}
ncclResult_t ncclCommFinalize(ncclComm_t comm) {
    const auto& shared = idle(comm);
    shared->last.wait();
    return begun(*shared);
}
ncclResult_t ncclCommDestroy(ncclComm_t comm) {
    idle(comm)->last.wait();
    living().erase(comm);
    delete comm;
    return ncclSuccess;
}
ncclResult_t ncclCommAbort(ncclComm_t comm) {
    shared_of(comm)->sockets.abort();
    living().erase(comm);
    delete comm;
    return ncclSuccess;
}
ncclResult_t ncclCommGetAsyncError(ncclComm_t comm, ncclResult_t* state) {
    const auto& shared = shared_of(comm);
    *state = fails_now(shared->sockets.rank()) ? ncclRemoteError : shared->state.load();
    if (*state == ncclSuccess && shared->looks > 0) {
        --shared->looks;
        *state = ncclInProgress;
    } else if (shared->when_done) {
        std::exchange(shared->when_done, nullptr)();
    }
    return ncclSuccess;
}
ncclResult_t ncclCommUserRank(ncclComm_t comm, int* rank) {
    *rank = shared_of(comm)->sockets.rank();
    return ncclSuccess;
}
ncclResult_t ncclCommCount(ncclComm_t comm, int* size) {
    *size = shared_of(comm)->sockets.size();
    return ncclSuccess;
}
ncclResult_t ncclGroupStart() {
    ++depth;
    return ncclSuccess;
}
ncclResult_t ncclGroupEnd() {
    if (depth > 0) --depth;
    return depth > 0 ? ncclSuccess : start_group();
}
ncclResult_t ncclSend(const void* send, size_t count, ncclDataType_t type, int peer, ncclComm_t comm,
                      cudaStream_t stream) {
    return add(comm, stream, {true, peer, const_cast<void*>(send), count * bytes_of(type)});
}
ncclResult_t ncclRecv(void* receive, size_t count, ncclDataType_t type, int peer, ncclComm_t comm,
                      cudaStream_t stream) {
    return add(comm, stream, {false, peer, receive, count * bytes_of(type)});
}
ncclResult_t ncclAllGather(const void* send, void* receive, size_t count, ncclDataType_t type,
                           ncclComm_t comm, cudaStream_t stream) {
    return start(comm, stream, [=, bytes = count * bytes_of(type)](Shared& shared) {
        std::vector<char> mine(bytes);
        copy(mine.data(), send, bytes);
        const auto all = gather(shared, mine);
        if (shared.sockets.aborted()) return;
        for (size_t r = 0; r < all.size(); ++r)
            copy(static_cast<char*>(receive) + r * bytes, all[r].data(), bytes);
    });
}
ncclResult_t ncclAllReduce(const void* send, void* receive, size_t count, ncclDataType_t type, ncclRedOp_t,
                           ncclComm_t comm, cudaStream_t stream) {
    if (type == ncclUint8) return ncclInvalidUsage;
    return start(comm, stream, [=](Shared& shared) {
        std::vector<char> mine(count * bytes_of(type));
        copy(mine.data(), send, mine.size());
        const auto all = gather(shared, mine);
        if (shared.sockets.aborted()) return;
        type == ncclFloat32 ? add_up<float>(all, receive, count) : add_up<double>(all, receive, count);
    });
}

ncclResult_t ncclGetVersion(int* version) {
    *version = 22000;
    return ncclSuccess;
}

#include <cuda_runtime.h>

#include <sys/mman.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <memory>
#include <mutex>

#include "tests/cuda_emulation/kernels.h"
#include "tests/cuda_emulation/queue.h"

namespace {

// One range of addresses holds all device memory, so that one call opens or closes it.
constexpr size_t kArenaBytes = size_t{1} << 36, kPage = 4096;

struct Arena {
    std::mutex mutex;
    std::byte* base = nullptr;
    size_t used = 0; // bytes from base that were ever handed out
    int accesses = 0;
    std::map<void*, size_t> sizes;
    std::multimap<size_t, void*> free;

    Arena() {
        void* at = mmap(nullptr, kArenaBytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (at == MAP_FAILED) std::abort();
        base = static_cast<std::byte*>(at);
    }
    void protect(int protection) {
        if (used > 0 && mprotect(base, used, protection) != 0) std::abort();
    }
};

Arena& arena() {
    static Arena& one = *new Arena; // outlives threads that are left at the end
    return one;
}

bool is_device_memory(const void* data) {
    const auto* at = static_cast<const std::byte*>(data);
    return at >= arena().base && at < arena().base + kArenaBytes;
}

} // namespace

namespace cuda_emulation {

DeviceAccess::DeviceAccess() {
    Arena& a = arena();
    const std::lock_guard lock(a.mutex);
    if (a.accesses++ == 0) a.protect(PROT_READ | PROT_WRITE);
}

DeviceAccess::~DeviceAccess() {
    Arena& a = arena();
    const std::lock_guard lock(a.mutex);
    if (--a.accesses == 0) a.protect(PROT_NONE);
}

} // namespace cuda_emulation

namespace {

/// Adds what a copy brings the host to the file BRAID_EMULATION_OUTPUTS, for comparisons between runs: rows,
/// bytes of a row, and a hash.
void record_output(const void* to, const void* from, size_t pitch, size_t width, size_t rows) {
    static const bool records = std::getenv("BRAID_EMULATION_OUTPUTS") != nullptr;
    if (!records || is_device_memory(to) || !is_device_memory(from)) return;
    uint64_t hash = 14695981039346656037u; // FNV-1a
    for (size_t row = 0; row < rows; ++row)
        for (size_t i = 0; i < width; ++i)
            hash = (hash ^ static_cast<const unsigned char*>(from)[row * pitch + i]) * 1099511628211u;
    char line[96];
    std::snprintf(line, sizeof line, "%zu\t%zu\t%016llx", rows, width, static_cast<unsigned long long>(hash));
    cuda_emulation::append_line("BRAID_EMULATION_OUTPUTS", line);
}

} // namespace

using cuda_emulation::Mark;
using cuda_emulation::Queue;

struct CudaEmulationStream {
    std::shared_ptr<Queue> queue; // once it works beside the host

    Mark mark() const { return queue ? Mark{queue, queue->last()} : Mark{}; }
};
struct CudaEmulationEvent {
    using Clock = std::chrono::steady_clock;
    bool is_timed = false;
    Mark mark;
    std::shared_ptr<Clock::time_point> time; // of a timed one that has been reached
};

Mark cuda_emulation::push(cudaStream_t stream, std::function<void()> work) {
    if (!stream->queue) stream->queue = Queue::start();
    const uint64_t number = stream->queue->push(std::move(work));
    return {stream->queue, number};
}

namespace {

/// Runs `body` behind what the stream has been given. Where that is under way still, `body` is given to it,
/// if it may run later.
template <typename Body>
cudaError_t in_order(cudaStream_t stream, bool may_run_later, const Body& body) {
    const Mark mark = stream ? stream->mark() : Mark{};
    if (may_run_later && !mark.reached()) {
        cuda_emulation::push(stream, body);
        return cudaSuccess;
    }
    mark.wait();
    body();
    return cudaSuccess;
}

} // namespace

const char* cudaGetErrorString(cudaError_t error) {
    return error == cudaSuccess                 ? "no error"
           : error == cudaErrorMemoryAllocation ? "out of memory"
                                                : "invalid argument";
}
cudaError_t cudaGetLastError() {
    return cudaSuccess;
}
cudaError_t cudaGetDeviceCount(int* count) {
    // A machine of some other number of GPUs, for tests.
    const char* given = std::getenv("BRAID_EMULATED_GPUS");
    *count = given ? std::atoi(given) : 4;
    return cudaSuccess;
}
cudaError_t cudaDriverGetVersion(int* version) {
    *version = 12040;
    return cudaSuccess;
}
cudaError_t cudaRuntimeGetVersion(int* version) {
    *version = 12040;
    return cudaSuccess;
}
cudaError_t cudaSetDevice(int device) {
    int count = 0;
    cudaGetDeviceCount(&count);
    return device >= 0 && device < count ? cudaSuccess : cudaErrorInvalidValue;
}
cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int) {
    const auto& chip = cuda_emulation::Chip::chosen();
    *properties = {"an emulated GPU", kArenaBytes, chip.major, chip.minor, 4};
    return cudaSuccess;
}
cudaError_t cudaGetDevice(int* device) {
    *device = 0; // all are alike
    return cudaSuccess;
}
cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr, int) {
    *value = static_cast<int>(cuda_emulation::Chip::chosen().shared_bytes);
    return cudaSuccess;
}
cudaError_t cudaMemGetInfo(size_t* free, size_t* total) {
    *total = kArenaBytes;
    *free = kArenaBytes - arena().used;
    return cudaSuccess;
}

cudaError_t cudaMalloc(void** data, size_t bytes) {
    bytes = (bytes + kPage - 1) / kPage * kPage;
    Arena& a = arena();
    const std::lock_guard lock(a.mutex);
    if (const auto found = a.free.find(bytes); found != a.free.end()) {
        *data = found->second;
        a.free.erase(found);
    } else {
        if (a.used + bytes > kArenaBytes) return cudaErrorMemoryAllocation;
        *data = a.base + a.used;
        a.used += bytes;
        if (a.accesses > 0) a.protect(PROT_READ | PROT_WRITE);
    }
    a.sizes[*data] = bytes;
    return cudaSuccess;
}

cudaError_t cudaFree(void* data) {
    if (!data) return cudaSuccess;
    Arena& a = arena();
    const std::lock_guard lock(a.mutex);
    const auto found = a.sizes.find(data);
    if (found == a.sizes.end()) return cudaErrorInvalidValue;
    a.free.emplace(found->second, data);
    a.sizes.erase(found);
    return cudaSuccess;
}

cudaError_t cudaHostAlloc(void** data, size_t bytes, unsigned) {
    *data = std::aligned_alloc(64, (bytes + 63) / 64 * 64);
    return *data ? cudaSuccess : cudaErrorMemoryAllocation;
}
cudaError_t cudaFreeHost(void* data) {
    std::free(data);
    return cudaSuccess;
}

cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind, cudaStream_t stream) {
    return in_order(stream, is_device_memory(to) && is_device_memory(from), [=] {
        const cuda_emulation::DeviceAccess access;
        record_output(to, from, bytes, bytes, 1);
        std::memmove(to, from, bytes);
    });
}
cudaError_t cudaMemcpy2DAsync(void* to, size_t to_pitch, const void* from, size_t from_pitch, size_t width,
                              size_t height, cudaMemcpyKind, cudaStream_t stream) {
    return in_order(stream, is_device_memory(to) && is_device_memory(from), [=] {
        const cuda_emulation::DeviceAccess access;
        record_output(to, from, from_pitch, width, height);
        for (size_t row = 0; row < height; ++row)
            std::memcpy(static_cast<std::byte*>(to) + row * to_pitch,
                        static_cast<const std::byte*>(from) + row * from_pitch, width);
    });
}
cudaError_t cudaMemsetAsync(void* data, int value, size_t bytes, cudaStream_t stream) {
    return in_order(stream, true, [=] {
        const cuda_emulation::DeviceAccess access;
        std::memset(data, value, bytes);
    });
}
cudaError_t cudaMemset2DAsync(void* data, size_t pitch, int value, size_t width, size_t rows,
                              cudaStream_t stream) {
    return in_order(stream, true, [=] {
        const cuda_emulation::DeviceAccess access;
        for (size_t i = 0; i < rows; ++i) std::memset(static_cast<char*>(data) + i * pitch, value, width);
    });
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned) {
    *stream = new CudaEmulationStream;
    return cudaSuccess;
}
cudaError_t cudaStreamDestroy(cudaStream_t stream) {
    delete stream;
    return cudaSuccess;
}
cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
    if (stream) stream->mark().wait();
    return cudaSuccess;
}
cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned) {
    return in_order(stream, true, [mark = event->mark] { mark.wait(); });
}
cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned flags) {
    *event = new CudaEmulationEvent;
    (*event)->is_timed = flags != cudaEventDisableTiming;
    return cudaSuccess;
}
cudaError_t cudaEventDestroy(cudaEvent_t event) {
    delete event;
    return cudaSuccess;
}
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
    event->mark = stream ? stream->mark() : Mark{};
    if (!event->is_timed) return cudaSuccess;
    event->time = std::make_shared<CudaEmulationEvent::Clock::time_point>();
    const auto stamp = [time = event->time] { *time = CudaEmulationEvent::Clock::now(); };
    if (event->mark.reached())
        stamp();
    else
        event->mark = cuda_emulation::push(stream, stamp);
    return cudaSuccess;
}
cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t first, cudaEvent_t last) {
    if (!first->time || !last->time || !first->mark.reached() || !last->mark.reached())
        return cudaErrorNotReady;
    *milliseconds = std::chrono::duration<float, std::milli>(*last->time - *first->time).count();
    return cudaSuccess;
}
cudaError_t cudaEventQuery(cudaEvent_t event) {
    return event->mark.reached() ? cudaSuccess : cudaErrorNotReady;
}
cudaError_t cudaEventSynchronize(cudaEvent_t event) {
    event->mark.wait();
    return cudaSuccess;
}

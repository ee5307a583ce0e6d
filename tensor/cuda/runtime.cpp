#include "tensor/cuda/runtime.h"

#include "tensor/cuda/error.h"
#include "tensor/memory/host_wait.h"

namespace braid::cuda {

int num_devices() {
    int count = 0;
    // Without a driver the call fails; then there is no device.
    if (cudaGetDeviceCount(&count) != cudaSuccess) {
        cudaGetLastError(); // forget it
        return 0;
    }
    return count;
}

int driver_version() {
    int version = 0;
    expect_success(cudaDriverGetVersion(&version), "cudaDriverGetVersion");
    return version;
}

int runtime_version() {
    int version = 0;
    expect_success(cudaRuntimeGetVersion(&version), "cudaRuntimeGetVersion");
    return version;
}

void use_device(int device) {
    expect_success(cudaSetDevice(device), "cudaSetDevice");
}

DeviceInfo device_info(int device) {
    use_device(device);
    cudaDeviceProp properties;
    expect_success(cudaGetDeviceProperties(&properties, device), "cudaGetDeviceProperties");
    DeviceInfo info{properties.name, properties.major, properties.minor, properties.multiProcessorCount};
    expect_success(cudaMemGetInfo(&info.free_bytes, &info.total_bytes), "cudaMemGetInfo");
    return info;
}

std::shared_ptr<void> make_stream(int device) {
    use_device(device);
    cudaStream_t stream = nullptr;
    expect_success(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "cudaStreamCreate");
    return {stream, [](void* s) { cudaStreamDestroy(static_cast<cudaStream_t>(s)); }};
}

void synchronize(void* stream) {
    // Not by cudaStreamSynchronize, which never returns where a rank is gone that a collective waits for.
    const std::shared_ptr<void> end = record_event(stream);
    wait_on_host([&] { return event_reached(end.get()); });
}

namespace {

std::shared_ptr<void> record_event_of(unsigned kind, void* stream) {
    cudaEvent_t event = nullptr;
    expect_success(cudaEventCreateWithFlags(&event, kind), "cudaEventCreate");
    std::shared_ptr<void> owner(event, [](void* e) { cudaEventDestroy(static_cast<cudaEvent_t>(e)); });
    expect_success(cudaEventRecord(event, static_cast<cudaStream_t>(stream)), "cudaEventRecord");
    return owner;
}

} // namespace

std::shared_ptr<void> record_event(void* stream) {
    return record_event_of(cudaEventDisableTiming, stream);
}

std::shared_ptr<void> record_timed_event(void* stream) {
    return record_event_of(cudaEventDefault, stream);
}

double seconds_between(void* first, void* last) {
    float milliseconds = 0;
    expect_success(
        cudaEventElapsedTime(&milliseconds, static_cast<cudaEvent_t>(first), static_cast<cudaEvent_t>(last)),
        "cudaEventElapsedTime");
    return static_cast<double>(milliseconds) * 1e-3;
}

void wait_event(void* stream, void* event) {
    expect_success(cudaStreamWaitEvent(static_cast<cudaStream_t>(stream), static_cast<cudaEvent_t>(event), 0),
                   "cudaStreamWaitEvent");
}

bool event_reached(void* event) {
    const cudaError_t error = cudaEventQuery(static_cast<cudaEvent_t>(event));
    if (error == cudaErrorNotReady) return false;
    expect_success(error, "cudaEventQuery");
    return true;
}

bool event_reached_elsewhere(int device, void* event) noexcept {
    // Else the call would make a context on the first GPU, of some hundred MiB.
    return cudaSetDevice(device) == cudaSuccess &&
           cudaEventQuery(static_cast<cudaEvent_t>(event)) == cudaSuccess;
}

void* allocate(int device, size_t bytes) {
    use_device(device);
    void* data = nullptr;
    const cudaError_t error = cudaMalloc(&data, bytes);
    if (error == cudaErrorMemoryAllocation) {
        cudaGetLastError(); // forget it: the caller has other ways
        return nullptr;
    }
    expect_success(error, "cudaMalloc");
    return data;
}

void release(int device, void* data) {
    use_device(device);
    expect_success(cudaFree(data), "cudaFree");
}

void* allocate_pinned(size_t bytes) {
    void* data = nullptr;
    expect_success(cudaHostAlloc(&data, bytes, cudaHostAllocDefault), "cudaHostAlloc");
    return data;
}

void release_pinned(void* data) {
    cudaFreeHost(data);
}

void copy(void* to, const void* from, size_t bytes, void* stream) {
    expect_success(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDefault, static_cast<cudaStream_t>(stream)),
                   "cudaMemcpyAsync");
}

void copy_rows(void* to, size_t to_pitch, const void* from, size_t from_pitch, size_t width, size_t rows,
               void* stream) {
    if (rows == 1) return copy(to, from, width, stream); // of any width
    expect_success(cudaMemcpy2DAsync(to, to_pitch, from, from_pitch, width, rows, cudaMemcpyDefault,
                                     static_cast<cudaStream_t>(stream)),
                   "cudaMemcpy2DAsync");
}

void fill_zero(void* data, size_t bytes, void* stream) {
    expect_success(cudaMemsetAsync(data, 0, bytes, static_cast<cudaStream_t>(stream)), "cudaMemsetAsync");
}

void fill_zero_rows(void* data, size_t pitch, size_t width, size_t rows, void* stream) {
    expect_success(cudaMemset2DAsync(data, pitch, 0, width, rows, static_cast<cudaStream_t>(stream)),
                   "cudaMemset2DAsync");
}

} // namespace braid::cuda

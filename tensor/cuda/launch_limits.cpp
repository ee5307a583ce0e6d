#include "tensor/cuda/launch_limits.h"

#include <build_switches.h>

#include <algorithm>
#include <map>
#include <mutex>
#include <string>
#include <utility>

#include "tensor/cuda/error.h"
#include "tensor/cuda/runtime.h"

namespace braid::cuda {
namespace {

int current_device() {
    int device = 0;
    expect_success(cudaGetDevice(&device), "cudaGetDevice");
    return device;
}

size_t most_of_device(int device) {
    int bytes = 0;
    expect_success(cudaDeviceGetAttribute(&bytes, cudaDevAttrMaxSharedMemoryPerBlockOptin, device),
                   "cudaDeviceGetAttribute");
    return static_cast<size_t>(bytes);
}

} // namespace

int64_t most_shared_memory() {
    return static_cast<int64_t>(most_of_device(current_device()));
}

void throw_lack_of_shared_memory(const std::string& what, int64_t bytes) {
    const DeviceInfo info = device_info(current_device());
    throw ConfigError(
        "{} would take {} bytes of shared memory, of which {} (compute capability {}.{}) has {} for a block",
        what, bytes, info.name, info.major, info.minor, most_shared_memory());
}

#if !BRAID_CUDA_EMULATION // where launches ask for nothing

namespace {

/// Shared memory of a kernel on a device, in bytes.
struct Limits {
    size_t fixed;   // static
    size_t allowed; // dynamic, as it has been asked for
};

std::string name_of(const void* kernel) {
    const char* name = nullptr;
    return cudaFuncGetName(&name, kernel) == cudaSuccess && name ? name : "a kernel without a name";
}

Limits find_limits(const void* kernel) {
    constexpr size_t kWithoutAsking = 48 << 10;
    cudaFuncAttributes attributes;
    expect_success(cudaFuncGetAttributes(&attributes, kernel), "cudaFuncGetAttributes");
    return {attributes.sharedSizeBytes,
            kWithoutAsking - std::min(kWithoutAsking, attributes.sharedSizeBytes)};
}

} // namespace

void allow_shared_memory(const void* kernel, size_t dynamic_bytes) {
    static std::mutex mutex;
    static std::map<std::pair<const void*, int>, Limits> known;
    const int device = current_device();
    const std::lock_guard lock(mutex);
    const auto [entry, is_new] = known.try_emplace({kernel, device});
    Limits& limits = entry->second;
    if (is_new) limits = find_limits(kernel);
    if (dynamic_bytes <= limits.allowed) return;
    if (limits.fixed + dynamic_bytes > most_of_device(device))
        throw Error(
            ExitCode::internal,
            fmt::format("{} takes {} bytes of static and {} of dynamic shared memory, device {} has {}",
                        name_of(kernel), limits.fixed, dynamic_bytes, device, most_of_device(device)));
    expect_success(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                        static_cast<int>(dynamic_bytes)),
                   "cudaFuncSetAttribute");
    limits.allowed = dynamic_bytes;
}

void throw_failed_launch(const void* kernel, dim3 grid, dim3 block, size_t dynamic_bytes, cudaError_t error) {
    throw Error(
        ExitCode::internal,
        fmt::format(
            "the launch of {} in {} x {} x {} blocks of {} x {} x {} threads with {} bytes of dynamic "
            "shared memory failed: {}",
            name_of(kernel), grid.x, grid.y, grid.z, block.x, block.y, block.z, dynamic_bytes,
            cudaGetErrorString(error)));
}

#endif

} // namespace braid::cuda

#include "tensor/memory/device.h"

#include <fmt/core.h>

#include "base/error.h"
#include "tensor/cuda/runtime.h"
#include "tensor/memory/build_cuda.h"

namespace braid {

std::string to_string(Device device) {
    return device.kind == DeviceKind::cpu ? "cpu" : fmt::format("cuda:{}", device.index);
}

int num_cuda_devices() {
    if constexpr (kBuildCuda) return cuda::num_devices();
    return 0;
}

Stream::Stream(Device device) : device_(device) {
    if (device.kind == DeviceKind::cpu) return;
    if (device.index >= num_cuda_devices())
        throw ConfigError("there is no device {}: {}", to_string(device),
                          kBuildCuda ? fmt::format("this process sees {} GPU(s)", num_cuda_devices())
                                     : "this build has no CUDA");
    if constexpr (kBuildCuda) native_ = cuda::make_stream(device.index);
}

void Stream::synchronize() const {
    if constexpr (kBuildCuda)
        if (native_) cuda::synchronize(native());
}

void Event::record(const Stream& stream) {
    device_ = stream.device();
    if constexpr (kBuildCuda)
        if (stream.native()) native_ = cuda::record_event(stream.native());
}

void Event::record_timed(const Stream& stream) {
    device_ = stream.device();
    if constexpr (kBuildCuda)
        if (stream.native()) native_ = cuda::record_timed_event(stream.native());
}

double Event::seconds_since(const Event& earlier) const {
    if constexpr (kBuildCuda)
        if (native_) return cuda::seconds_between(earlier.native_.get(), native_.get());
    return 0;
}

void Event::wait(const Stream& stream) const {
    if constexpr (kBuildCuda)
        if (native_) cuda::wait_event(stream.native(), native_.get());
}

bool Event::reached() const {
    if constexpr (kBuildCuda)
        if (native_) return cuda::event_reached(native_.get());
    return true;
}

bool Event::reached_elsewhere() const noexcept {
    if constexpr (kBuildCuda)
        if (native_) return cuda::event_reached_elsewhere(device_.index, native_.get());
    return true;
}

} // namespace braid

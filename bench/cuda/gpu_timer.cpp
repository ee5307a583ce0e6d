#include "bench/cuda/gpu_timer.h"

#include <build_switches.h>
#include <cuda_runtime.h>

#include "tensor/cuda/error.h"

namespace braid::bench {

std::string cuda_version_text(int version) {
    return fmt::format("{}.{}", version / 1000, version % 1000 / 10);
}

struct GpuTimer::Marks {
    Event start, stop;
};

GpuTimer::GpuTimer(const Stream& stream) : stream_(stream), marks_(std::make_shared<Marks>()) {}

void GpuTimer::start() {
    marks_->start.record_timed(stream_);
}
void GpuTimer::stop() {
    marks_->stop.record_timed(stream_);
}
double GpuTimer::milliseconds() const {
    stream_.synchronize();
    return 1e3 * marks_->stop.seconds_since(marks_->start);
}

#if BRAID_CUDA_EMULATION

bool context_is_lost() {
    return false;
}
int highest_clock_mhz(int) {
    return 0;
}

#else

bool context_is_lost() {
    cudaGetLastError(); // forget what one call had
    cudaDeviceSynchronize();
    cudaGetLastError();
    return cudaDeviceSynchronize() != cudaSuccess;
}

int highest_clock_mhz(int device) {
    int khz = 0;
    if (cudaDeviceGetAttribute(&khz, cudaDevAttrClockRate, device) != cudaSuccess) {
        cudaGetLastError(); // forget it
        return 0;
    }
    return khz / 1000;
}

#endif

} // namespace braid::bench

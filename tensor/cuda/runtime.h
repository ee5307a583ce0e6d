#pragma once

#include <cstddef>
#include <memory>
#include <string>

namespace braid::cuda {

// The CUDA runtime without its headers, so that only files of the CUDA backend need them. Errors of the
// runtime are thrown as Error (exit 1): a kernel of ours or the device failed, and its state is lost; a
// `stream` is a cudaStream_t.

int num_devices();
/// As CUDA counts, 12040 for 12.4: the newest runtime that the driver serves (0 without a driver), and the
/// runtime of this build.
int driver_version();
int runtime_version();
/// Makes the device the one that this thread's calls mean.
void use_device(int device);

struct DeviceInfo {
    std::string name;
    int major = 0, minor = 0; // compute capability
    int num_multiprocessors = 0;
    size_t total_bytes = 0, free_bytes = 0;
};
DeviceInfo device_info(int device);

std::shared_ptr<void> make_stream(int device);
/// Waits on the host (tensor/memory/host_wait.h) for what the stream was given.
void synchronize(void* stream);
std::shared_ptr<void> record_event(void* stream);
/// One that tells the time, which costs the GPU a little more.
std::shared_ptr<void> record_timed_event(void* stream);
/// Between two timed events that have been reached.
double seconds_between(void* first, void* last);
void wait_event(void* stream, void* event);
bool event_reached(void* event);
/// For threads that do not compute: it makes `device` the calling thread's, and says false where the device
/// has failed, which the thread that computes on it learns by itself.
bool event_reached_elsewhere(int device, void* event) noexcept;

/// Null where the device has no such memory left.
void* allocate(int device, size_t bytes);
void release(int device, void* data);
/// Memory of the host that copies reach without a detour.
void* allocate_pinned(size_t bytes);
void release_pinned(void* data);

/// Between any two places; either may be the host's.
void copy(void* to, const void* from, size_t bytes, void* stream);
/// `rows` times `width` bytes, the rows of either side that many bytes apart.
void copy_rows(void* to, size_t to_pitch, const void* from, size_t from_pitch, size_t width, size_t rows,
               void* stream);
void fill_zero(void* data, size_t bytes, void* stream);
void fill_zero_rows(void* data, size_t pitch, size_t width, size_t rows, void* stream);

} // namespace braid::cuda

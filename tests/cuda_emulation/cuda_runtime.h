#pragma once

// The part of the CUDA runtime that Braid uses, on the host, so that the CUDA backend and its kernels run
// where no GPU is: the preset cuda-emulated puts this folder in front of the toolkit's headers. Every call
// has finished when it returns, but for NCCL's and what is given to its stream: a host that makes another
// stream wait for that waits itself. Device memory can be touched by kernels and copies only: the host that
// reads it ends with a segmentation fault, as it would with a GPU.
//
// Kernels run block by block; a block's threads are fibers that take turns at __syncthreads and warp
// operations. A barrier that some threads of a block never reach is reported and ends the program. They take
// turns, as blocks do, in the order of BRAID_EMULATION_ORDER (order.h); shared memory begins with bytes of no
// meaning, and asynchronous copies arrive when they are waited for.

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __restrict__ __restrict
#define __shared__ static thread_local // a block at a time, all its threads on one thread of the host

enum cudaError_t {
    cudaSuccess = 0,
    cudaErrorMemoryAllocation = 2,
    cudaErrorNotReady = 600,
    cudaErrorInvalidValue = 1
};
enum cudaMemcpyKind {
    cudaMemcpyHostToHost,
    cudaMemcpyHostToDevice,
    cudaMemcpyDeviceToHost,
    cudaMemcpyDeviceToDevice,
    cudaMemcpyDefault
};
enum { cudaStreamNonBlocking = 1, cudaHostAllocDefault = 0 };
enum { cudaEventDefault = 0, cudaEventDisableTiming = 2 };
enum cudaDeviceAttr { cudaDevAttrMaxSharedMemoryPerBlockOptin = 97 };

struct dim3 {
    unsigned x = 1, y = 1, z = 1;
    constexpr dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};

struct cudaDeviceProp {
    char name[256];
    size_t totalGlobalMem;
    int major, minor, multiProcessorCount;
};

using cudaStream_t = struct CudaEmulationStream*;
using cudaEvent_t = struct CudaEmulationEvent*;

const char* cudaGetErrorString(cudaError_t error);
cudaError_t cudaGetLastError();
cudaError_t cudaGetDeviceCount(int* count);
cudaError_t cudaDriverGetVersion(int* version);
cudaError_t cudaRuntimeGetVersion(int* version);
cudaError_t cudaSetDevice(int device);
cudaError_t cudaGetDevice(int* device);
cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int device);
cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int device);
cudaError_t cudaMemGetInfo(size_t* free, size_t* total);
cudaError_t cudaMalloc(void** data, size_t bytes);
cudaError_t cudaFree(void* data);
cudaError_t cudaHostAlloc(void** data, size_t bytes, unsigned flags);
cudaError_t cudaFreeHost(void* data);
cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind kind,
                            cudaStream_t stream);
cudaError_t cudaMemcpy2DAsync(void* to, size_t to_pitch, const void* from, size_t from_pitch, size_t width,
                              size_t height, cudaMemcpyKind kind, cudaStream_t stream);
cudaError_t cudaMemsetAsync(void* data, int value, size_t bytes, cudaStream_t stream);
cudaError_t cudaMemset2DAsync(void* data, size_t pitch, int value, size_t width, size_t height,
                              cudaStream_t stream);
cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned flags);
cudaError_t cudaStreamDestroy(cudaStream_t stream);
cudaError_t cudaStreamSynchronize(cudaStream_t stream);
cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned flags);
cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned flags);
cudaError_t cudaEventDestroy(cudaEvent_t event);
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream);
cudaError_t cudaEventQuery(cudaEvent_t event);
cudaError_t cudaEventSynchronize(cudaEvent_t event);
cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t first, cudaEvent_t last);

namespace cuda_emulation {

/// While it lives, this thread may touch device memory.
class DeviceAccess {
  public:
    DeviceAccess();
    ~DeviceAccess();
    DeviceAccess(const DeviceAccess&) = delete;
};

/// Runs `thread` once per thread of every block. The kernel is named by its address.
void run(const void* kernel, dim3 grid, dim3 block, size_t shared_bytes, const std::function<void()>& thread);

struct Built {
    dim3 thread, block, block_size, grid_size;
};
/// Of the thread that runs.
const Built& built();
/// Aligned so and no more.
void* dynamic_shared(size_t alignment);
void sync_block();
/// Gives every lane of the warp the value that lane `source` gave. All lanes of the warp that have not
/// returned take part.
uint64_t exchange(uint64_t value, int source);
unsigned ballot(bool predicate);
/// Calls read with what the 32 lanes of the warp gave, `bytes` (at most 64) each, kLaneBytes apart. All of
/// them take part.
constexpr size_t kLaneBytes = 64;
void share(const void* given, size_t bytes, const std::function<void(const std::byte* lanes)>& read);

// Instructions for tensor cores; see ops/cuda/tensor_core.h.
void multiply_add(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]);
void load_matrices(uint32_t (&to)[4], const void* row, bool transposed);
void start_copy(void* to, const void* from, int bytes);
void end_copies();
void wait_for_copies(int left);
/// Ends the program with a line that names the kernel.
[[noreturn]] void fail_in_kernel(const char* what);

} // namespace cuda_emulation

#define threadIdx (cuda_emulation::built().thread)
#define blockIdx (cuda_emulation::built().block)
#define blockDim (cuda_emulation::built().block_size)
#define gridDim (cuda_emulation::built().grid_size)
constexpr int warpSize = 32;

inline void __syncthreads() {
    cuda_emulation::sync_block();
}
inline void __syncwarp(unsigned = 0xffffffffu) {
    cuda_emulation::exchange(0, 0);
}
template <typename T>
T __shfl_sync(unsigned, T value, int source) {
    static_assert(sizeof(T) <= 8);
    uint64_t bits = 0;
    std::memcpy(&bits, &value, sizeof(T));
    bits = cuda_emulation::exchange(bits, source & 31);
    std::memcpy(&value, &bits, sizeof(T));
    return value;
}
template <typename T>
T __shfl_xor_sync(unsigned mask, T value, int lanes) {
    return __shfl_sync(mask, value, static_cast<int>(threadIdx.x & 31u) ^ lanes);
}
template <typename T>
T __shfl_up_sync(unsigned mask, T value, unsigned delta) {
    const int lane = static_cast<int>(threadIdx.x & 31u), source = lane - static_cast<int>(delta);
    return __shfl_sync(mask, value, source < 0 ? lane : source);
}
template <typename T>
T __shfl_down_sync(unsigned mask, T value, unsigned delta) {
    const int lane = static_cast<int>(threadIdx.x & 31u), source = lane + static_cast<int>(delta);
    return __shfl_sync(mask, value, source > 31 ? lane : source);
}
inline unsigned __ballot_sync(unsigned, int predicate) {
    return cuda_emulation::ballot(predicate != 0);
}
inline int __popc(unsigned bits) {
    return __builtin_popcount(bits);
}
template <typename T>
T __ldg(const T* p) {
    return *p;
}
inline int atomicAdd(int* place, int value) { // of integers only: exact in any order
    const int before = *place;
    *place += value;
    return before;
}
inline unsigned long long atomicAdd(unsigned long long* place, unsigned long long value) {
    const unsigned long long before = *place;
    *place += value;
    return before;
}
inline int atomicMin(int* place, int value) {
    const int before = *place;
    if (value < before) *place = value;
    return before;
}
inline int atomicMax(int* place, int value) {
    const int before = *place;
    if (value > before) *place = value;
    return before;
}
inline float __fmul_rn(float a, float b) {
    return a * b;
}
inline double __dmul_rn(double a, double b) {
    return a * b;
}
template <typename T>
T rsqrt(T x) {
    return 1 / std::sqrt(x);
}

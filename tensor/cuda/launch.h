#pragma once

#include <build_switches.h>
#include <cuda_runtime.h>

#include <algorithm>
#include <cstdint>
#include <tuple>
#include <utility>

#include "base/dtype.h"
#include "tensor/cuda/error.h"
#include "tensor/cuda/launch_limits.h"
#include "tensor/tensor.h"

namespace braid::cuda {

/// The stream that work on x belongs in.
inline cudaStream_t stream_of(const Tensor& x) {
    return static_cast<cudaStream_t>(x.allocator().stream().native());
}

/// Starts a kernel with arguments that convert to its parameters. `place` is a tensor it writes: its stream
/// is used. Nothing is started where the grid is empty.
template <typename... Parameters, typename... Arguments>
void launch(void (*kernel)(Parameters...), dim3 grid, dim3 block, size_t shared_bytes, const Tensor& place,
            Arguments&&... arguments) {
    if (grid.x == 0 || grid.y == 0 || grid.z == 0) return;
    const auto* const function = reinterpret_cast<const void*>(kernel);
#if BRAID_CUDA_EMULATION
    cuda_emulation::run(function, grid, block, shared_bytes,
                        [&] { kernel(static_cast<Parameters>(arguments)...); });
#else
    if (shared_bytes > 0) allow_shared_memory(function, shared_bytes);
    void* list[] = {nullptr}; // a kernel of no parameters has a list all the same
    std::tuple<Parameters...> values(static_cast<Parameters>(arguments)...);
    std::apply(
        [&](auto&... value) {
            void* pointers[] = {static_cast<void*>(&value)..., nullptr};
            const cudaError_t error =
                cudaLaunchKernel(function, grid, block, sizeof...(Parameters) == 0 ? list : pointers,
                                 shared_bytes, stream_of(place));
            if (error != cudaSuccess) throw_failed_launch(function, grid, block, shared_bytes, error);
        },
        values);
#endif
}

/// Dynamic shared memory of the block, aligned for T and for vectors of 16 bytes.
template <typename T>
__device__ __forceinline__ T* dynamic_shared() {
#if BRAID_CUDA_EMULATION
    return static_cast<T*>(cuda_emulation::dynamic_shared(alignof(T) < 16 ? 16 : alignof(T)));
#else
    // Declared only as strictly as T needs: it pads the static shared memory of all kernels of the file.
    if constexpr (alignof(T) > 16) {
        static_assert(alignof(T) <= 128);
        extern __shared__ __align__(128) unsigned char lines_of_shared_bytes[];
        return reinterpret_cast<T*>(lines_of_shared_bytes);
    } else {
        extern __shared__ __align__(16) unsigned char shared_bytes[];
        return reinterpret_cast<T*>(shared_bytes);
    }
#endif
}

constexpr int kThreads = 256; // of blocks that do one thing per element
#if BRAID_CUDA_EMULATION
constexpr int64_t kMostBlocks = 4; // threads are slow there
#else
constexpr int64_t kMostBlocks = 1 << 16;
#endif

/// Blocks of kThreads threads that loop over `count` things with for_each_index.
inline dim3 blocks_for(int64_t count) {
    return dim3(static_cast<unsigned>(std::min((count + kThreads - 1) / kThreads, kMostBlocks)));
}

/// Calls body(i) for this thread's share of 0 <= i < count, in a one-dimensional grid.
template <typename Body>
__device__ __forceinline__ void for_each_index(int64_t count, const Body& body) {
    const int64_t step = static_cast<int64_t>(gridDim.x) * blockDim.x;
    for (int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < count; i += step)
        body(i);
}

/// The value in the type that sums of it are made in: f32 for bf16.
template <typename T>
__device__ __forceinline__ Accumulation<T> load(const T& value) {
    return static_cast<Accumulation<T>>(value);
}

/// The sum over the lanes of a warp, in one order, on every lane.
template <typename T>
__device__ __forceinline__ T warp_sum(T value) {
    for (int lanes = 16; lanes > 0; lanes /= 2) value += __shfl_xor_sync(0xffffffffu, value, lanes);
    return value;
}

template <typename T>
__device__ __forceinline__ T warp_max(T value) {
    for (int lanes = 16; lanes > 0; lanes /= 2) {
        const T other = __shfl_xor_sync(0xffffffffu, value, lanes);
        value = other > value ? other : value;
    }
    return value;
}

/// The sum over all threads of a block, in one order, on every thread. All threads take part; at most 1024.
template <typename T>
__device__ __forceinline__ T block_sum(T value) {
    __shared__ T sums[32];
    value = warp_sum(value);
    __syncthreads(); // the sums of the call before have been read
    if (threadIdx.x % 32 == 0) sums[threadIdx.x / 32] = value;
    __syncthreads();
    T total = 0;
    for (unsigned warp = 0; warp < (blockDim.x + 31) / 32; ++warp) total += sums[warp];
    return total;
}

/// The rows along the last dimension of a tensor whose dimension 0 may be strided, for kernels.
template <typename T>
struct RowsView {
    T* data;
    int64_t count, width, per_token, token_stride;

    __device__ __forceinline__ T* operator[](int64_t row) const {
        return data + row / per_token * token_stride + row % per_token * width;
    }
};

template <typename T>
RowsView<T> rows_of(const Tensor& x) {
    const int64_t per_token = x.rank() > 2 ? x.numel() / std::max<int64_t>(x.dim(0) * x.dim(-1), 1) : 1;
    return {x.data<T>(), x.dim(0) * per_token, x.dim(-1), std::max<int64_t>(per_token, 1), x.row_stride()};
}

} // namespace braid::cuda

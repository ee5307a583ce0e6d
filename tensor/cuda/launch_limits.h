#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>
#include <string>

namespace braid::cuda {

/// Static and dynamic shared memory, in bytes, that a block may have on the current device: what tiles are
/// chosen by.
int64_t most_shared_memory();
/// Throws the ConfigError of an operation, described by `what`, whose smallest tiles take more.
[[noreturn]] void throw_lack_of_shared_memory(const std::string& what, int64_t bytes);

/// Lets a kernel have this much dynamic shared memory on the current device, which must be asked for where it
/// has more than 48 KiB together with the kernel's static shared memory (CUDA C++ Programming Guide, compute
/// capabilities 7.x and later). Asked for once per kernel and device. Error naming the kernel where it is
/// more than the device has.
void allow_shared_memory(const void* kernel, size_t dynamic_bytes);

/// Throws the Error of a launch that failed: kernel, grid, block, shared memory.
[[noreturn]] void throw_failed_launch(const void* kernel, dim3 grid, dim3 block, size_t dynamic_bytes,
                                      cudaError_t error);

} // namespace braid::cuda

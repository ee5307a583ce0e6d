#pragma once

#include <cuda_runtime.h>

#include "base/error.h"

namespace braid::cuda {

/// Throws Error naming the call, unless it succeeded.
inline void expect_success(cudaError_t error, const char* call) {
    if (error != cudaSuccess)
        throw Error(ExitCode::internal, fmt::format("{} failed: {}", call, cudaGetErrorString(error)));
}

} // namespace braid::cuda

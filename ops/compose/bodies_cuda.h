#pragma once

#include "ops/basic/strided.h"
#include "tensor/cuda/for_each.h"

// Bodies of primitives compiled for GPUs: in ops::cuda, a thread for each element.
#define BRAID_BODIES cuda
#define BRAID_BODY __device__

namespace braid::ops::cuda {

using braid::cuda::for_each;

} // namespace braid::ops::cuda

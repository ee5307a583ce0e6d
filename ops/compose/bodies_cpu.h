#pragma once

#include "ops/basic/strided.h"

// The primitives of this folder are what layers without kernels of their own are written in. What one does to
// an element stands once, in X-inl.h, and is compiled for each device by X_cpu.cpp and X.cu.
//
// Bodies of primitives compiled for the CPU: in ops::cpu, a loop over elements on all threads. See
// ops/compose/bodies_cuda.h for their other form.
#define BRAID_BODIES cpu
#define BRAID_BODY

namespace braid::ops::cpu {

/// Calls body(i) for every 0 <= i < count; `place` is a tensor it writes.
template <typename Body>
void for_each(const Tensor&, int64_t count, const Body& body) {
#pragma omp parallel for schedule(static) if (count > 1 << 12)
    for (int64_t i = 0; i < count; ++i) body(i);
}

} // namespace braid::ops::cpu

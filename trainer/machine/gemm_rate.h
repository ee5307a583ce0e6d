#pragma once

#include "base/dtype.h"
#include "tensor/memory/device.h"

namespace braid {

/// The rate at which the library alone multiplies large square matrices of this dtype, in operations per
/// second: what MFU is measured against. On the CPU it is the BLAS library with this process's threads, and
/// takes about a tenth of a second; on a GPU cuBLASLt in the stream `compute`, as linear calls it.
double measure_gemm_rate(DType dtype, const Stream& compute = Stream());

/// The same, measured once by a process for each dtype and device.
double gemm_rate(DType dtype, const Stream& compute = Stream());

} // namespace braid

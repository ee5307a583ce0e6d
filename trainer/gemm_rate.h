#pragma once

#include "base/dtype.h"

namespace braid {

/// The rate at which the BLAS library alone multiplies large square matrices with this process's threads, in
/// operations per second: what MFU is measured against. Takes about a tenth of a second.
double measure_gemm_rate(DType dtype);

} // namespace braid

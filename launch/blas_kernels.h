#pragma once

namespace braid {

/// The kernels to ask OpenBLAS for in OPENBLAS_CORETYPE, or nullptr where its own choice is good. A version
/// older than the processor takes it for one of 2004 and computes at a fifth of its speed; this program needs
/// AVX2 anyway, so kernels for less are never right.
const char* better_blas_kernels();

} // namespace braid

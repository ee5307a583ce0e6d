#pragma once

namespace braid::ops::cpu {

/// Holds products of the BLAS library against plain loops: odd and larger sizes, all transpositions, f32 and
/// f64, with and without beta, in about a millisecond. On some processors some kernels of a library compute
/// wrong results or crash; found here, that is an error before training instead of a curve that looks odd.
///
/// Throws ConfigError, which names the library, its kernels, the product and the environment variable that
/// picks other kernels. Where the library crashes, the same but for the product is written to stderr and the
/// process ends with exit code 2. For the start of a program: while it runs, the process's handlers of
/// SIGSEGV, SIGBUS, SIGILL and SIGFPE are its own.
void check_blas();

} // namespace braid::ops::cpu

#include "launch/blas_kernels.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <string_view>

#include "ops/cpu/gemm.h"

namespace braid {

const char* better_blas_kernels() {
    constexpr std::array<std::string_view, 14> kWithoutAvx2{
        "Prescott", "Core2",         "Penryn",    "Dunnington", "Atom",      "Nehalem",    "Sandybridge",
        "Opteron",  "Opteron(SSE3)", "Barcelona", "Bobcat",     "Bulldozer", "Piledriver", "Nano"};
    const auto name = ops::cpu::blas_kernels();
    if (std::find(kWithoutAvx2.begin(), kWithoutAvx2.end(), name) == kWithoutAvx2.end()) return nullptr;
    const bool has_avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
                            __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl");
    return has_avx512 ? "SkylakeX" : "Haswell";
}

void restart_with_better_blas_kernels(char** argv) {
    const char* better = better_blas_kernels();
    if (!better || std::getenv("OPENBLAS_CORETYPE")) return;
    setenv("OPENBLAS_CORETYPE", better, 1);
    execv("/proc/self/exe", argv);
    unsetenv("OPENBLAS_CORETYPE"); // without effect on what is loaded
}

} // namespace braid

#include "launch/blas_kernels.h"

#include <algorithm>
#include <array>
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

} // namespace braid

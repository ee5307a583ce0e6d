#include "trainer/machine/build_info.h"

#include <openssl/crypto.h>
#include <zlib.h>
#include <zstd.h>

#include <nlohmann/json.hpp>

#include "base/hdf5_file.h"
#include "ops/cpu/bf16_gemm.h"
#include "ops/cpu/gemm.h"
#include "tensor/memory/build_cuda.h"
#include "trainer/machine/build_commit.h"
#include "trainer/machine/build_info_values.h"

namespace braid {

const BuildInfo& build_info() {
    static const BuildInfo info{BRAID_VERSION,        BRAID_BUILD_COMMIT, BRAID_BUILD_TYPE,
                                BRAID_BUILD_COMPILER, BRAID_BUILD_FLAGS,  BRAID_BUILD_PROCESSOR,
                                BRAID_MPI != 0,       BRAID_OPENMP != 0,  kBuildCuda};
    return info;
}

std::map<std::string, std::string> library_versions() {
    return {
        {"hdf5", hdf5_version()},
        {"onednn", ops::cpu::onednn_description()},
        {"openblas", ops::cpu::blas_description()},
        {"openssl", OpenSSL_version(OPENSSL_VERSION)},
        {"zlib", zlibVersion()},
        {"zstd", ZSTD_versionString()},
        {"highway", BRAID_BUILD_HIGHWAY},
        {"fmt", BRAID_BUILD_FMT},
        {"yaml-cpp", BRAID_BUILD_YAML_CPP},
        {"nlohmann-json", fmt::format("{}.{}.{}", NLOHMANN_JSON_VERSION_MAJOR, NLOHMANN_JSON_VERSION_MINOR,
                                      NLOHMANN_JSON_VERSION_PATCH)},
    };
}

} // namespace braid

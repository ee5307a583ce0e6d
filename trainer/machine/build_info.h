#pragma once

#include <map>
#include <string>

namespace braid {

/// How this program was built, fixed by the build.
struct BuildInfo {
    std::string version; // of Braid
    std::string commit; // 40 hexadecimal digits, "-dirty" behind them if tracked files differed; or "unknown"
    std::string type;   // Release, Debug, ...
    std::string compiler;  // "GNU 12.2.0"
    std::string flags;     // given to the compiler
    std::string processor; // "x86_64"
    bool mpi, openmp, cuda;
};

const BuildInfo& build_info();

/// Name -> version of the libraries used below launch/: as loaded where the library can tell, else as built
/// against. MPI and CLI11 belong to the caller.
std::map<std::string, std::string> library_versions();

} // namespace braid

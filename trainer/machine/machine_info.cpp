#include "trainer/machine/machine_info.h"

#include <sched.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <fstream>
#include <sstream>

namespace braid {
namespace {

/// What stands behind the colon of the first line of /proc/cpuinfo that begins with `key`.
std::string cpuinfo_value(const std::string& key) {
    std::ifstream file("/proc/cpuinfo");
    for (std::string line; std::getline(file, line);) {
        const size_t colon = line.find(':');
        if (line.starts_with(key) && colon != std::string::npos && colon + 2 <= line.size())
            return line.substr(colon + 2);
    }
    return "unknown";
}

std::string known_instructions() {
    std::istringstream flags(cpuinfo_value("flags"));
    std::string found;
    for (std::string flag; flags >> flag;)
        for (const char* known : {"avx2", "fma", "avx512f", "avx512_bf16", "amx_bf16"})
            if (flag == known) found += (found.empty() ? "" : " ") + flag;
    return found.empty() ? "unknown" : found;
}

} // namespace

MachineInfo machine_info() {
    MachineInfo info{.processor = cpuinfo_value("model name"), .instructions = known_instructions()};
    cpu_set_t cores;
    CPU_ZERO(&cores);
    if (sched_getaffinity(0, sizeof cores, &cores) == 0) info.cores = CPU_COUNT(&cores);
    const int64_t page = sysconf(_SC_PAGESIZE);
    info.memory_bytes = page * sysconf(_SC_PHYS_PAGES);
    info.free_memory_bytes = page * sysconf(_SC_AVPHYS_PAGES);
    struct statvfs shared;
    if (statvfs("/dev/shm", &shared) == 0)
        info.shared_memory_bytes = static_cast<int64_t>(shared.f_blocks * shared.f_frsize);
    return info;
}

} // namespace braid

#pragma once

#include <cstdint>
#include <string>

namespace braid {

/// What the operating system says of the machine. A text is "unknown" where it does not say.
struct MachineInfo {
    std::string processor;    // the model's name
    std::string instructions; // of those that matter here: "avx2 avx512f avx512_bf16 amx_bf16"
    int cores = 1;            // that this process may run on
    int64_t memory_bytes = 0, free_memory_bytes = 0;
    int64_t shared_memory_bytes = 0; // size of /dev/shm, over which ranks of a machine may talk; 0 without
};
MachineInfo machine_info();

} // namespace braid

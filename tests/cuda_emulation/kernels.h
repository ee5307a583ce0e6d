#pragma once

// What the program knows of its kernels: names and static shared memory come from its own table of symbols.

#include <cstddef>
#include <string>
#include <vector>

namespace cuda_emulation {

struct Kernel {
    std::string name;   // demangled
    std::string source; // file name, where the kernel is local to it; else empty
    /// Its variables in shared memory, but for those of functions that it calls.
    struct Variable {
        size_t offset, bytes; // in the thread's storage of the program
    };
    std::vector<Variable> shared;
};

/// Finds a kernel by its address and, where BRAID_EMULATION_LAUNCHES names a file, adds a line to it: name,
/// source, bytes of dynamic shared memory and threads of a block, with tabs between, once for a process.
const Kernel& find_kernel(const void* address, size_t dynamic_bytes, size_t threads);

/// Makes static shared memory what it is on a GPU: of no known value.
void poison(const Kernel& kernel);

/// Adds a line to the file that an environment variable names, in one write; nothing where it is not set.
void append_line(const char* variable, const std::string& line);

/// What the GPUs are: an sm_90 or, with BRAID_EMULATED_COMPUTE_CAPABILITY=8.0 or 8.6, what has less shared
/// memory for a block.
struct Chip {
    int major, minor;
    size_t shared_bytes;

    static const Chip& chosen();
};

constexpr int kPoison = 0xa5;

} // namespace cuda_emulation

#include "tests/cuda_emulation/kernels.h"

#include <cxxabi.h>
#include <elf.h>
#include <fcntl.h>
#include <link.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <tuple>

namespace cuda_emulation {
namespace {

/// Where the program lies and the size of its threads' storage.
struct Image {
    uintptr_t base = 0;
    size_t storage = 0; // below the thread pointer

    Image() {
        dl_iterate_phdr(
            [](dl_phdr_info* info, size_t, void* to) {
                auto& image = *static_cast<Image*>(to);
                image.base = info->dlpi_addr;
                for (int i = 0; i < info->dlpi_phnum; ++i) {
                    const auto& header = info->dlpi_phdr[i];
                    if (header.p_type == PT_TLS)
                        image.storage =
                            (header.p_memsz + header.p_align - 1) / header.p_align * header.p_align;
                }
                return 1; // the program is the first
            },
            this);
    }
};

const Image& image() {
    static const Image one;
    return one;
}

struct Function {
    const char* name;
    const char* source;
};

/// The functions by address and the variables of threads by name, of the program's file.
struct Symbols {
    std::map<uintptr_t, Function> functions;
    std::map<std::string, Kernel::Variable> variables;

    Symbols() {
        const int file = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
        struct stat status {};
        if (file < 0 || fstat(file, &status) != 0) return;
        void* at = mmap(nullptr, static_cast<size_t>(status.st_size), PROT_READ, MAP_PRIVATE, file, 0);
        close(file);
        if (at != MAP_FAILED) read(static_cast<const char*>(at)); // stays, as names point into it
    }

  private:
    void read(const char* bytes) {
        const auto* header = reinterpret_cast<const ElfW(Ehdr)*>(bytes);
        const auto* sections = reinterpret_cast<const ElfW(Shdr)*>(bytes + header->e_shoff);
        for (int s = 0; s < header->e_shnum; ++s) {
            if (sections[s].sh_type != SHT_SYMTAB) continue;
            const auto* symbols = reinterpret_cast<const ElfW(Sym)*>(bytes + sections[s].sh_offset);
            const char* names = bytes + sections[sections[s].sh_link].sh_offset;
            const char* source = "";
            for (size_t i = 0; i < sections[s].sh_size / sizeof *symbols; ++i) {
                const auto& symbol = symbols[i];
                const char* name = names + symbol.st_name;
                const int type = ELF64_ST_TYPE(symbol.st_info);
                if (type == STT_FILE) source = name; // of the local symbols that follow
                if (type == STT_FUNC && symbol.st_value != 0) {
                    const bool local = ELF64_ST_BIND(symbol.st_info) == STB_LOCAL;
                    functions.try_emplace(symbol.st_value, Function{name, local ? source : ""});
                }
                if (type == STT_TLS && std::strncmp(name, "_ZZ", 3) == 0)
                    variables.emplace(name, Kernel::Variable{symbol.st_value, symbol.st_size});
            }
        }
    }
};

Kernel describe(const void* address) {
    static const Symbols symbols;
    const auto found = symbols.functions.find(reinterpret_cast<uintptr_t>(address) - image().base);
    if (found == symbols.functions.end()) return {"a kernel without a name", "", {}};
    const std::string mangled = found->second.name;
    int status = 0;
    const std::unique_ptr<char, void (*)(void*)> name(
        abi::__cxa_demangle(mangled.c_str(), nullptr, nullptr, &status), &std::free);
    Kernel kernel{name ? name.get() : mangled, found->second.source, {}};
    // A function's own variables are named after it.
    const std::string prefix = "_ZZ" + mangled.substr(2) + "E";
    for (auto i = symbols.variables.lower_bound(prefix);
         i != symbols.variables.end() && i->first.compare(0, prefix.size(), prefix) == 0; ++i)
        kernel.shared.push_back(i->second);
    return kernel;
}

} // namespace

const Chip& Chip::chosen() {
    // Table "Technical Specifications per Compute Capability" of the CUDA C++ Programming Guide.
    static constexpr Chip kChips[] = {{8, 0, 163 << 10}, {8, 6, 99 << 10}, {9, 0, 227 << 10}};
    static const Chip& one = [&]() -> const Chip& {
        const char* given = std::getenv("BRAID_EMULATED_COMPUTE_CAPABILITY");
        const std::string wanted = given ? given : "9.0";
        for (const Chip& chip : kChips)
            if (wanted == std::to_string(chip.major) + '.' + std::to_string(chip.minor)) return chip;
        std::fprintf(stderr, "CUDA emulation: BRAID_EMULATED_COMPUTE_CAPABILITY=%s: 8.0, 8.6 or 9.0\n",
                     wanted.c_str());
        std::abort();
    }();
    return one;
}

const Kernel& find_kernel(const void* address, size_t dynamic_bytes, size_t threads) {
    static std::mutex mutex;
    static std::map<const void*, Kernel> kernels;
    static std::set<std::tuple<const void*, size_t, size_t>> launches;
    const std::lock_guard lock(mutex);
    auto found = kernels.find(address);
    if (found == kernels.end()) found = kernels.emplace(address, describe(address)).first;
    const Kernel& kernel = found->second;
    if (launches.emplace(address, dynamic_bytes, threads).second)
        append_line("BRAID_EMULATION_LAUNCHES", kernel.name + '\t' + kernel.source + '\t' +
                                                    std::to_string(dynamic_bytes) + '\t' +
                                                    std::to_string(threads));
    return kernel;
}

void poison(const Kernel& kernel) {
#if defined(__x86_64__) // the program's storage ends where the thread pointer points
    auto* const end = static_cast<std::byte*>(__builtin_thread_pointer());
    for (const auto& variable : kernel.shared)
        std::memset(end - image().storage + variable.offset, kPoison, variable.bytes);
#else
    static_cast<void>(kernel);
#endif
}

void append_line(const char* variable, const std::string& line) {
    const char* path = std::getenv(variable);
    if (!path) return;
    const std::string whole = line + '\n';
    const int file = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    if (file < 0 || write(file, whole.data(), whole.size()) != static_cast<ssize_t>(whole.size())) {
        std::fprintf(stderr, "CUDA emulation: %s: cannot add a line to %s\n", variable, path);
        std::abort();
    }
    close(file);
}

} // namespace cuda_emulation

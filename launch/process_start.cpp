#include "launch/process_start.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <charconv>
#include <cstdlib>
#include <string_view>
#include <utility>
#include <vector>

#include "base/error.h"
#include "launch/blas_kernels.h"

namespace braid {
namespace {

/// /dev/null the wrong way round: a use fails, as it does where the descriptor is closed.
void open_closed_streams() {
    for (const int stream : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO})
        if (::fcntl(stream, F_GETFD) < 0) // the lowest free descriptor is this one
            (void)::open("/dev/null", stream == STDIN_FILENO ? O_WRONLY : O_RDONLY);
}

/// Whether `text` is a number of threads, or a list of them for nested regions.
bool counts_threads(std::string_view text) {
    constexpr int kMaxThreads = 1024;
    while (true) {
        const size_t comma = text.find(',');
        std::string_view part = text.substr(0, comma);
        while (!part.empty() && part.front() == ' ') part.remove_prefix(1);
        while (!part.empty() && part.back() == ' ') part.remove_suffix(1);
        int count = 0;
        const auto [end, error] = std::from_chars(part.data(), part.data() + part.size(), count);
        if (error != std::errc() || end != part.data() + part.size() || count < 1 || count > kMaxThreads)
            return false;
        if (comma == std::string_view::npos) return true;
        text.remove_prefix(comma + 1);
    }
}

void check_thread_count() {
    const char* const given = std::getenv("OMP_NUM_THREADS");
    if (given && *given && !counts_threads(given))
        throw ConfigError("OMP_NUM_THREADS: expected a number of threads from 1 to 1024, found '{}'", given);
}

/// Variables that libraries read when they are loaded, and that are better set.
std::vector<std::pair<const char*, const char*>> missing_variables() {
    std::vector<std::pair<const char*, const char*>> missing;
    if (const char* better = better_blas_kernels(); better && !std::getenv("OPENBLAS_CORETYPE"))
        missing.emplace_back("OPENBLAS_CORETYPE", better);
    // A thread of libgomp that waits spins 300,000 times before it sleeps, several milliseconds in which it
    // may keep the core from the thread that it waits for. docs/launch.md has measurements.
    if (!std::getenv("GOMP_SPINCOUNT") && !std::getenv("OMP_WAIT_POLICY"))
        missing.emplace_back("GOMP_SPINCOUNT", "1000");
    return missing;
}

void restart_with_variables(char** argv) {
    const auto missing = missing_variables();
    if (missing.empty()) return;
    for (const auto& [name, value] : missing) setenv(name, value, 1);
    execv("/proc/self/exe", argv);                            // the one file that is surely this program
    for (const auto& [name, value] : missing) unsetenv(name); // without effect on what is loaded
}

} // namespace

void prepare_process(char** argv) {
    open_closed_streams();
    ::signal(SIGPIPE, SIG_IGN);
    ::signal(SIGXFSZ, SIG_IGN);
    if (argv[0]) // a restart would leave the name `exe` to ps and pgrep
        ::prctl(PR_SET_NAME,
                std::string_view(argv[0]).substr(std::string_view(argv[0]).rfind('/') + 1).data());
    check_thread_count();
    restart_with_variables(argv);
}

} // namespace braid

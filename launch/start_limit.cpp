#include "launch/start_limit.h"

#include <pthread.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <string_view>
#include <utility>

#include "base/error.h"
#include "launch/output.h"
#include "launch/ranks.h"

namespace braid {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

constexpr milliseconds kPeriod{250};
// All ranks reach the limit at about one time, and the first to go ends the others.
constexpr milliseconds kBetweenRanks{50};

/// A number from `least` to a million, else `otherwise`.
int64_t number_of(const char* name, int64_t least, int64_t otherwise) {
    constexpr int64_t kMost = 1000000;
    const char* const value = std::getenv(name);
    if (!value) return otherwise;
    const std::string_view text = value;
    int64_t number = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    const bool good = error == std::errc() && end == text.data() + text.size();
    return good && number >= least && number <= kMost ? number : otherwise;
}

int own_rank() {
    return static_cast<int>(number_of("OMPI_COMM_WORLD_RANK", 0, 0));
}

/// Nobody in MPI's start can tell who is missing, but the launcher, which takes this line out.
void report_to_launcher() {
    if (!std::getenv("BRAID_REPORT_START")) return;
    ::unsetenv("BRAID_REPORT_START");
    write_error_at_once(fmt::format("braid-launch: rank {} in MPI\n", own_rank()));
}

} // namespace

StartLimit::StartLimit(int64_t seconds, std::string host) : seconds_(seconds), host_(std::move(host)) {
    report_to_launcher();
    if (seconds == 0) return;
    // Signals are for the rank's own thread.
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    thread_ = std::thread([this] { watch(); });
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

StartLimit::~StartLimit() {
    if (!thread_.joinable()) return;
    {
        const std::lock_guard lock(mutex_);
        end_ = true;
    }
    ended_.notify_all();
    thread_.join();
}

/// False if the limit is lifted.
bool StartLimit::sleep(milliseconds time) {
    std::unique_lock lock(mutex_);
    return !ended_.wait_for(lock, time, [&] { return end_; });
}

void StartLimit::watch() {
    const Clock::duration limit = std::chrono::seconds(seconds_);
    Clock::duration waited{0};
    auto last = Clock::now();
    while (waited < limit) {
        if (!sleep(kPeriod)) return;
        const auto now = Clock::now();
        waited += std::min<Clock::duration>(now - last, 4 * kPeriod);
        last = now;
    }
    const int rank = own_rank();
    if (rank > 0 && !sleep(kFirstRanksWord + rank * kBetweenRanks)) return;
    write_error_at_once(
        fmt::format("braid: rank {} on {} waited {}.0 s for others of {} ranks in MPI's start\n", rank, host_,
                    seconds_, expected_ranks()));
    _exit(static_cast<int>(ExitCode::communication));
}

int expected_ranks() {
    for (const char* name :
         {"BRAID_EXPECTED_RANKS", "OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "SLURM_STEP_NUM_TASKS"})
        if (const int64_t ranks = number_of(name, 1, 0); ranks > 0) return static_cast<int>(ranks);
    return 1;
}

int64_t start_limit_seconds() {
    constexpr int64_t kDefault = 300;
    return number_of("BRAID_START_SECONDS", 0, kDefault);
}

void check_world_size(int size, int expected, const std::string& host) {
    if (size == expected) return;
    const std::string found = size == 1 ? "this process is alone" : fmt::format("it has {}", size);
    throw CommError(
        "{}: expected a world of {} ranks, but for MPI {}; start them with launch/braid-mpirun (or, as "
        "tasks of srun, with --mpi=pmix)",
        host, expected, found);
}

} // namespace braid

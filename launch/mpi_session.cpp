#include "launch/mpi_session.h"

#include <unistd.h>

#include <cstdlib>

#include "launch/output.h"
#include "launch/start_limit.h"
#include "parallel/collectives.h"
#include "parallel/gpu_ranks.h"
#include "parallel/mpi_comm.h"
#include "parallel/parallel_config.h"
#include "parallel/traced_comm.h"
#include "trainer/metrics/metrics_lines.h"

namespace braid {
namespace {

/// Whether a launcher made this process one of several. MPI_Init without one works too, but starts a daemon
/// and opens ports, which a single process has no use for.
bool started_by_launcher() {
    for (const char* name : {"OMPI_COMM_WORLD_SIZE", "PMIX_RANK", "PMI_SIZE", "PMI_RANK"})
        if (std::getenv(name)) return true;
    return false;
}

} // namespace

std::string host_name() {
    char name[256] = {};
    gethostname(name, sizeof name - 1);
    return name;
}

void MpiSession::watch(int64_t seconds, const std::string& folder) {
    watchdog_.reset();
    if (!log_ || seconds == 0) return;
    const std::string path = fmt::format("{}/watchdog-rank-{}.txt", folder, log_->rank());
    watchdog_ = std::make_unique<Watchdog>(
        *log_, WatchdogOptions{
                   .limit = std::chrono::seconds(seconds),
                   .host = host_name(),
                   .print = [](const std::string& text) { write_error_at_once("braid: " + text); },
                   .store =
                       [path](const std::string& text) {
                           try {
                               LineFile(path).append(text);
                               return true;
                           } catch (const std::exception&) {
                               return false; // then all of it is printed
                           }
                       },
                   .end_job = [] { _exit(static_cast<int>(ExitCode::communication)); },
               });
}

#if BRAID_MPI

MpiSession::MpiSession() {
    if (!started_by_launcher()) {
        check_world_size(1, expected_ranks(), host_name());
        world_ = self_communicator();
        return;
    }
    const auto limit = std::make_unique<StartLimit>(start_limit_seconds(), host_name());
    int provided = 0;
    if (MPI_Init_thread(nullptr, nullptr, MPI_THREAD_FUNNELED, &provided) != MPI_SUCCESS)
        throw CommError("MPI_Init_thread failed");
    initialized_ = true;
    auto world = mpi_communicator(MPI_COMM_WORLD);
    check_world_size(world->size(), expected_ranks(), host_name());
    log_ = std::make_unique<CollectiveLog>(world->rank());
    world_ = traced_communicator(std::move(world), *log_, "world");
    watch(ParallelConfig().watchdog_seconds, "");
    MPI_Comm node = MPI_COMM_NULL;
    MPI_Comm_split_type(MPI_COMM_WORLD, MPI_COMM_TYPE_SHARED, world_->rank(), MPI_INFO_NULL, &node);
    MPI_Comm_size(node, &node_size_);
    MPI_Comm_rank(node, &node_rank_);
    MPI_Comm_free(&node);
}

MpiSession::~MpiSession() {
    if (initialized_) end_in_step();
}

void MpiSession::use_gpus(const Stream& compute) {
    if (!log_ || world_->size() == 1 || compute.device().kind == DeviceKind::cpu) return;
    // NCCL waits for all ranks to come, and nobody can see for whom.
    const CollectiveLabel label(log_.get(), "connecting the GPUs");
    const int64_t id = log_->begin("world", nullptr, 0, CollectiveKind::split, 0);
    log_->waiting(id, {});
    auto world = with_gpus(mpi_communicator(MPI_COMM_WORLD), *world_, compute);
    log_->end(id);
    world_ = traced_communicator(std::move(world), *log_, "world");
}

/// MPI_Finalize waits for all ranks too, and nobody could tell for whom: they meet before.
void MpiSession::end_in_step() {
    const CollectiveLabel label(log_.get(), "the end of the job");
    try {
        barrier(*world_);
    } catch (const Error& error) {
        write_error_at_once(fmt::format("braid: rank {}: {}\n", log_->rank(), error.what()));
    }
    world_.reset(); // frees its communicator, which must happen before the end of MPI
    const int64_t id = log_->begin("world", nullptr, 0, CollectiveKind::finalize, 0);
    log_->waiting(id, {});
    MPI_Finalize();
    log_->end(id);
}

std::string MpiSession::library() const {
    if (!initialized_) return "";
    char text[MPI_MAX_LIBRARY_VERSION_STRING];
    int length = 0;
    MPI_Get_library_version(text, &length);
    const std::string version(text, static_cast<size_t>(length));
    return version.substr(0, version.find(','));
}

void MpiSession::abort(ExitCode code) {
    if (initialized_) MPI_Abort(MPI_COMM_WORLD, static_cast<int>(code));
    std::_Exit(static_cast<int>(code));
}

#else

MpiSession::MpiSession() {
    if (started_by_launcher())
        throw ConfigError(
            "this build has no MPI (BRAID_MPI=OFF), but a launcher started it as one of several ranks");
    world_ = self_communicator();
}

MpiSession::~MpiSession() = default;
void MpiSession::use_gpus(const Stream&) {}
std::string MpiSession::library() const {
    return "";
}
void MpiSession::abort(ExitCode code) {
    std::_Exit(static_cast<int>(code));
}

#endif

} // namespace braid

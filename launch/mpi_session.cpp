#include "launch/mpi_session.h"

#include <cstdlib>

#include "parallel/mpi_comm.h"

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

#if BRAID_MPI

MpiSession::MpiSession() {
    if (!started_by_launcher()) {
        world_ = self_communicator();
        return;
    }
    int provided = 0;
    if (MPI_Init_thread(nullptr, nullptr, MPI_THREAD_FUNNELED, &provided) != MPI_SUCCESS)
        throw CommError("MPI_Init_thread failed");
    initialized_ = true;
    world_ = mpi_communicator(MPI_COMM_WORLD);
    MPI_Comm node = MPI_COMM_NULL;
    MPI_Comm_split_type(MPI_COMM_WORLD, MPI_COMM_TYPE_SHARED, world_->rank(), MPI_INFO_NULL, &node);
    MPI_Comm_size(node, &node_size_);
    MPI_Comm_rank(node, &node_rank_);
    MPI_Comm_free(&node);
}

MpiSession::~MpiSession() {
    if (!initialized_) return;
    world_.reset(); // frees its communicator, which must happen before the end of MPI
    MPI_Finalize();
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
std::string MpiSession::library() const {
    return "";
}
void MpiSession::abort(ExitCode code) {
    std::_Exit(static_cast<int>(code));
}

#endif

} // namespace braid

#include "launch/ranks.h"

#include <sched.h>

#include <algorithm>
#include <cstdlib>
#include <new>
#include <thread>

#include "launch/output.h"
#include "ops/cpu/blas_check.h"
#include "parallel/agreement.h"

#if BRAID_OPENMP
#include <omp.h>
#endif

namespace braid {

ExitCode run_as_rank(const std::function<ExitCode(MpiSession&)>& body) {
    MpiSession session;
    const int rank = session.world().rank();
    const auto checked_body = [&] {
        agree(session.world(), [] { ops::cpu::check_blas(); });
        return body(session);
    };
    if (session.world().size() == 1) return checked_body();
    const auto end_job = [&](const char* what, ExitCode code) {
        // Where all ranks fail alike, as with memory that is used up, one word is enough: by then the first
        // has ended the others.
        if (rank > 0) std::this_thread::sleep_for(kFirstRanksWord);
        print_error(fmt::format("rank {}: {}", rank, what));
        session.abort(code);
    };
    try {
        return checked_body();
    } catch (const AgreedError& error) {
        // Before the session ends: mpirun kills the other ranks as soon as one has left with a code that is
        // not 0.
        if (rank == 0) print_error(error.what());
        return error.exit_code();
    } catch (const Error& error) {
        end_job(error.what(), error.exit_code());
    } catch (const std::bad_alloc&) {
        end_job("out of memory", ExitCode::usage);
    } catch (const std::exception& error) {
        end_job(error.what(), ExitCode::internal);
    }
    return ExitCode::internal;
}

int set_num_threads(int64_t wanted, int node_size) {
#if BRAID_OPENMP
    const char* const given = std::getenv("OMP_NUM_THREADS");
    if (wanted == 0 && given && *given) return omp_get_max_threads();
    if (wanted == 0) {
        cpu_set_t cores;
        CPU_ZERO(&cores);
        const int allowed = sched_getaffinity(0, sizeof cores, &cores) == 0 ? CPU_COUNT(&cores) : 1;
        wanted = std::max(1, allowed / std::max(1, node_size));
    }
    omp_set_num_threads(static_cast<int>(wanted));
    return static_cast<int>(wanted);
#else
    return 1;
#endif
}

} // namespace braid

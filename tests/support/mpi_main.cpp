// The main function of test programs whose ranks are processes: every rank runs the same cases in the same
// order.
#include <gtest/gtest.h>
#include <mpi.h>

#include <cstdio>

namespace {

/// A rank that fails a case may have left a collective its neighbours wait in: end the whole job at once.
class AbortOnFailure : public testing::EmptyTestEventListener {
    void OnTestEnd(const testing::TestInfo& info) override {
        if (!info.result()->Failed()) return;
        int rank = 0;
        MPI_Comm_rank(MPI_COMM_WORLD, &rank);
        std::fprintf(stderr, "rank %d failed %s.%s\n", rank, info.test_suite_name(), info.name());
        std::fflush(nullptr);
        MPI_Abort(MPI_COMM_WORLD, 1);
    }
};

/// What gtest prints, on rank 0 alone; other ranks print failures only.
class FailurePrinter : public testing::EmptyTestEventListener {
    void OnTestPartResult(const testing::TestPartResult& result) override {
        if (!result.failed()) return;
        std::fprintf(stderr, "%s:%d: %s\n", result.file_name() != nullptr ? result.file_name() : "?",
                     result.line_number(), result.message());
    }
};

} // namespace

int main(int argc, char** argv) {
    int provided = 0;
    MPI_Init_thread(&argc, &argv, MPI_THREAD_FUNNELED, &provided);
    testing::InitGoogleTest(&argc, argv);
    int rank = 0;
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    testing::TestEventListeners& listeners = testing::UnitTest::GetInstance()->listeners();
    if (rank != 0) {
        delete listeners.Release(listeners.default_result_printer());
        listeners.Append(new FailurePrinter);
    }
    listeners.Append(new AbortOnFailure);
    const int result = RUN_ALL_TESTS();
    const bool ran_nothing = testing::UnitTest::GetInstance()->test_to_run_count() == 0;
    if (ran_nothing && rank == 0) std::fprintf(stderr, "the filter matches no test\n");
    MPI_Finalize();
    return result != 0 || ran_nothing ? 1 : 0;
}

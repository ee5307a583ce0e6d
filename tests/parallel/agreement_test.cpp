#include "parallel/agreement.h"

#include <gtest/gtest.h>

#include "parallel/thread_comm.h"

namespace braid::testing {
namespace {

TEST(agreement, all_ranks_throw_the_error_of_one) {
    run_thread_ranks(3, [](Communicator& comm) {
        try {
            agree(comm, [&] {
                if (comm.rank() == 1) throw DataError("file.h5: cut");
            });
            FAIL() << "no exception on rank " << comm.rank();
        } catch (const AgreedError& error) {
            EXPECT_EQ(error.exit_code(), ExitCode::data);
            EXPECT_STREQ(error.what(), "rank 1: file.h5: cut");
        }
        agree(comm, [] {}); // the group works on
    });
}

TEST(agreement, an_error_common_to_all_names_no_rank) {
    run_thread_ranks(2, [](Communicator& comm) {
        try {
            agree(comm, [] { throw ConfigError("bad key"); });
            FAIL();
        } catch (const AgreedError& error) {
            EXPECT_STREQ(error.what(), "bad key");
        }
    });
}

TEST(agreement, different_texts_are_refused) {
    run_thread_ranks(2, [](Communicator& comm) {
        expect_same_everywhere(comm, "a", "the config", ExitCode::usage);
        EXPECT_THROW(expect_same_everywhere(comm, comm.rank() ? "a" : "b", "the config", ExitCode::usage),
                     AgreedError);
    });
}

} // namespace
} // namespace braid::testing

#include "parallel/communicator.h"

#include <gtest/gtest.h>

#include "parallel/collectives.h"
#include "parallel/thread_comm.h"
#include "tests/parallel/communicator_case.h"
#include "tests/support/testing_context.h"

namespace braid::testing {
namespace {

TEST(communicator, all_to_all_moves_every_part) {
    exercise_all_to_all(*self_communicator());
    for (int size : {1, 2, 3, 5}) run_thread_ranks(size, exercise_all_to_all);
}

TEST(communicator, several_collectives_in_flight) {
    run_thread_ranks(3, [](Communicator& comm) {
        const std::vector<int64_t> bytes(3, 8);
        std::vector<int64_t> mine = {comm.rank(), 10 + comm.rank(), 20 + comm.rank()};
        std::vector<std::vector<int64_t>> all(3, std::vector<int64_t>(3));
        std::vector<std::unique_ptr<Pending>> pending;
        for (size_t i = 0; i < 3; ++i) pending.push_back(comm.all_gather(&mine[i], all[i].data(), bytes));
        for (size_t i : {2, 0, 1}) pending[i]->wait();
        for (int64_t i = 0; i < 3; ++i)
            for (int64_t r = 0; r < 3; ++r)
                EXPECT_EQ(all[static_cast<size_t>(i)][static_cast<size_t>(r)], 10 * i + r);
    });
}

TEST(communicator, split_ranks_by_key) {
    run_thread_ranks(6, [](Communicator& comm) {
        const auto part = comm.split(comm.rank() % 2, -comm.rank(), "half");
        EXPECT_EQ(part->size(), 3);
        EXPECT_EQ(part->rank(), 2 - comm.rank() / 2);
        std::vector<int64_t> sum = {comm.rank()};
        all_reduce_sum(*part, std::span(sum));
        EXPECT_EQ(sum[0], comm.rank() % 2 ? 9 : 6);
    });
}

TEST(communicator, failure_of_a_rank_ends_the_others) {
    try {
        run_thread_ranks(3, [](Communicator& comm) {
            if (comm.rank() == 1) throw DataError("bad token");
            barrier(comm);
        });
        FAIL() << "no exception";
    } catch (const Error& error) {
        EXPECT_EQ(error.exit_code(), ExitCode::data);
    }
}

TEST(communicator, missing_rank_is_named) {
    try {
        run_thread_ranks(
            3,
            [](Communicator& comm) {
                if (comm.rank() != 2) barrier(comm);
            },
            std::chrono::seconds(1));
        FAIL() << "no exception";
    } catch (const Error& error) {
        EXPECT_EQ(error.exit_code(), ExitCode::communication);
        EXPECT_NE(std::string(error.what()).find("for rank 2"), std::string::npos) << error.what();
    }
}

TEST(collectives, ordered_all_reduce_adds_in_rank_order) {
    for (int size : {1, 2, 4})
        for (int64_t count : {0, 1, 3, 1000})
            run_thread_ranks(size, [&](Communicator& comm) {
                TestContext t;
                const auto values_of = [&](int rank) {
                    return random_tensor(t.allocator, {count}, DType::f32, "values " + std::to_string(rank),
                                         1e3);
                };
                Tensor expected = values_of(0);
                for (int r = 1; r < size; ++r) {
                    const Tensor other = values_of(r);
                    for (int64_t i = 0; i < count; ++i) expected.data<float>()[i] += other.data<float>()[i];
                }
                Tensor values = values_of(comm.rank());
                OrderedAllReduce reduce(comm, t.allocator, values);
                reduce.add_parts();
                reduce.finish();
                expect_identical(values, expected, "sum");
            });
}

TEST(collectives, texts_and_maxima) {
    run_thread_ranks(3, [](Communicator& comm) {
        const auto texts = all_gather_text(comm, std::string(static_cast<size_t>(comm.rank()), 'x'));
        EXPECT_EQ(texts, (std::vector<std::string>{"", "x", "xx"}));
        std::vector<double> values = {static_cast<double>(-comm.rank()), comm.rank() == 1 ? 0.0 / 0.0 : 1.0};
        all_reduce_max(comm, values);
        EXPECT_EQ(values[0], 0);
        EXPECT_NE(values[1], values[1]);
    });
}

} // namespace
} // namespace braid::testing

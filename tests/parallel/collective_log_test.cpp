// What traced communicators record, and that ranks which do different things do not take each other's
// messages.

#include "parallel/collective_log.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "parallel/collectives.h"
#include "parallel/thread_comm.h"
#include "parallel/traced_comm.h"
#include "tests/parallel/communicator_case.h"
#include "tests/parallel/traced_ranks.h"
#include "tests/support/testing_context.h"

namespace braid::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST(collective_log, traced_ranks_move_the_same_bytes) {
    for (int size : {1, 2, 3, 5})
        run_traced_ranks(size, [](Communicator& comm, CollectiveLog&) { exercise_all_to_all(comm); });
}

TEST(collective_log, entries_tell_group_order_and_label) {
    run_traced_ranks(4, [](Communicator& world, CollectiveLog& log) {
        const CollectiveLabel step(&log, "step 7");
        const auto half = world.split(world.rank() % 2, 0, "half");
        {
            const CollectiveLabel layer(&log, "layers.3.moe", "backward");
            barrier(*half);
        }
        barrier(world);
        const auto entries = log.recent();
        ASSERT_EQ(entries.size(), 4u);
        EXPECT_EQ(entries[0].name(), "all_gather 0 of world: step 7");
        EXPECT_EQ(entries[1].name(), "split 1 of world: step 7");
        EXPECT_EQ(entries[2].name(), "all_gather 0 of half: step 7, layers.3.moe backward");
        EXPECT_EQ(entries[3].name(), "all_gather 2 of world: step 7");
        EXPECT_THAT(*entries[2].members, ElementsAre(world.rank() % 2, world.rank() % 2 + 2));
        for (const CollectiveEntry& entry : entries) EXPECT_TRUE(entry.done) << entry.name();
        EXPECT_FALSE(log.waited_for());
    });
}

TEST(collective_log, the_last_collectives_are_kept_and_no_more) {
    run_traced_ranks(2, [](Communicator& world, CollectiveLog& log) {
        const std::vector<int64_t> bytes = {8, 8};
        std::vector<int64_t> early(2), mine = {5};
        const auto pending = world.all_gather(mine.data(), early.data(), bytes);
        for (int i = 0; i < 100; ++i) barrier(world);
        auto entries = log.recent();
        ASSERT_EQ(entries.size(), CollectiveLog::kKept + 1);
        EXPECT_EQ(entries.front().sequence, 0) << "one under way is never forgotten";
        EXPECT_FALSE(entries.front().done);
        EXPECT_EQ(entries.back().sequence, 100);
        pending->wait();
        EXPECT_EQ(early[0] + early[1], 10);
        EXPECT_TRUE(log.recent().back().done);
    });
}

TEST(collective_log, one_given_up_is_not_under_way_any_more) {
    run_traced_ranks(2, [](Communicator& world, CollectiveLog& log) {
        const std::vector<int64_t> bytes = {8, 8};
        std::vector<int64_t> all(2), mine = {5};
        world.all_gather(mine.data(), all.data(), bytes).reset();
        EXPECT_TRUE(log.recent().back().done);
    });
}

TEST(collective_log, traffic_is_what_leaves_the_rank) {
    run_traced_ranks(3, [](Communicator& world, CollectiveLog& log) {
        TestContext t;
        const auto data = world.split(0, world.rank(), "data");
        log.take_traffic();
        std::vector<std::byte> send(60), received(60);
        const std::vector<int64_t> sends = {10, 20, 30};
        const std::vector<int64_t> receives(3, sends[static_cast<size_t>(world.rank())]);
        received.resize(static_cast<size_t>(3 * receives[0]));
        data->all_to_all(send.data(), sends, received.data(), receives)->wait();
        Tensor values = Tensor::zeros(t.allocator, {100}, DType::f32);
        data->all_reduce_any_order(values.raw_data(), 100, DType::f32)->wait();
        barrier(world);
        const auto traffic = log.take_traffic();
        ASSERT_EQ(traffic.size(), 3u);
        EXPECT_EQ(traffic.at({"data", CollectiveKind::all_to_all}),
                  (Traffic{1, 60 - sends[static_cast<size_t>(world.rank())]}));
        EXPECT_EQ(traffic.at({"data", CollectiveKind::all_reduce}), (Traffic{1, 2 * 400 * 2 / 3}));
        EXPECT_EQ(traffic.at({"world", CollectiveKind::all_gather}), (Traffic{1, 2 * 8}));
        EXPECT_TRUE(log.take_traffic().empty());
    });
}

TEST(collective_log, an_ordered_sum_sends_what_the_formula_says) {
    for (int size : {2, 3, 4})
        run_traced_ranks(size, [&](Communicator& world, CollectiveLog& log) {
            TestContext t;
            constexpr int64_t kCount = 1003;
            Tensor values = Tensor::zeros(t.allocator, {kCount}, DType::f64);
            OrderedAllReduce reduce(world, t.allocator, values);
            reduce.add_parts();
            reduce.finish();
            Traffic sum;
            for (const auto& [key, part] : log.take_traffic()) {
                sum.calls += part.calls;
                sum.bytes_sent += part.bytes_sent;
            }
            const int64_t own = EvenSplit{kCount, size}.length(world.rank());
            EXPECT_EQ(sum, (Traffic{2, 8 * (kCount + (size - 2) * own)}));
            std::vector<int64_t> all = {sum.bytes_sent};
            all_reduce_sum(world, std::span(all));
            EXPECT_EQ(all[0], 8 * 2 * (size - 1) * kCount) << "of all ranks together";
        });
}

/// The message of the error that ends three ranks of which rank 1 does something else.
std::string divergence(const std::function<void(Communicator&, CollectiveLog&)>& body) {
    try {
        run_traced_ranks(3, body);
    } catch (const Error& error) {
        EXPECT_EQ(error.exit_code(), ExitCode::communication);
        return error.what();
    }
    return "no exception";
}

TEST(collective_log, a_rank_with_another_label_is_no_peer) {
    // Two gradients of one size in the wrong order: without labels each would be added to the other.
    const std::string message = divergence([](Communicator& world, CollectiveLog& log) {
        for (const char* layer : {world.rank() == 1 ? "layers.1" : "layers.0", "layers.2"}) {
            const CollectiveLabel label(&log, "gradients of", layer);
            barrier(world);
        }
    });
    EXPECT_THAT(message, HasSubstr("all_gather 0 of world: gradients of layers."));
    EXPECT_THAT(message, HasSubstr("does not do what rank"));
}

TEST(collective_log, a_rank_with_another_kind_is_no_peer) {
    const std::string message = divergence([](Communicator& world, CollectiveLog&) {
        const std::vector<int64_t> bytes(3, 8);
        std::vector<int64_t> send(3), receive(3);
        if (world.rank() == 1)
            world.all_gather(send.data(), receive.data(), bytes)->wait();
        else
            world.all_to_all(send.data(), bytes, receive.data(), bytes)->wait();
    });
    EXPECT_THAT(message, HasSubstr("does not do what rank"));
}

} // namespace
} // namespace braid::testing

#include "parallel/watchdog.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>

#include "base/error.h"
#include "parallel/collectives.h"
#include "tests/parallel/traced_ranks.h"

namespace braid::testing {
namespace {

using namespace std::chrono_literals;
using ::testing::HasSubstr;

/// What the watchdogs of all ranks did.
class Observed {
  public:
    explicit Observed(int num_ranks)
        : printed(static_cast<size_t>(num_ranks)), stored(printed), ended(printed) {}

    WatchdogOptions options(int rank, std::chrono::milliseconds limit) {
        const auto r = static_cast<size_t>(rank);
        return {.limit = limit,
                .host = "host",
                .print =
                    [this, r](const std::string& text) {
                        const std::lock_guard lock(mutex);
                        printed[r] += text;
                    },
                .store =
                    [this, r](const std::string& text) {
                        const std::lock_guard lock(mutex);
                        stored[r] += text;
                        return can_store;
                    },
                .end_job =
                    [this, r] {
                        const std::lock_guard lock(mutex);
                        ended[r] = "ended";
                        over = true;
                    }};
    }

    std::mutex mutex;
    std::vector<std::string> printed, stored, ended;
    bool can_store = true;
    std::atomic<bool> over = false;
};

/// Rank 1 of three never comes to a barrier of `axis`; returns when a watchdog has ended the job.
void lose_a_rank(Observed& seen) {
    run_traced_ranks(3, [&](Communicator& world, CollectiveLog& log) {
        const Watchdog watchdog(log, seen.options(world.rank(), 200ms));
        const CollectiveLabel label(&log, "step 3");
        barrier(world);
        const CollectiveLabel layer(&log, "layers.2.moe", "backward");
        if (world.rank() == 1)
            while (!seen.over) std::this_thread::sleep_for(5ms); // stuck in work of its own
        barrier(world);
    });
}

TEST(watchdog, a_missing_rank_is_named_with_operation_and_layer) {
    Observed seen(3);
    lose_a_rank(seen);
    EXPECT_THAT(seen.printed[0], HasSubstr("rank 0 on host waited 0."));
    EXPECT_THAT(seen.printed[0],
                HasSubstr("for rank 1 in all_gather 1 of world: step 3, layers.2.moe backward\n"));
    EXPECT_EQ(std::count(seen.printed[0].begin(), seen.printed[0].end(), '\n'), 1);
    EXPECT_EQ(seen.ended[0], "ended");
    // The stuck rank is not the one to complain, and the third has its report but leaves the word to the
    // first.
    EXPECT_EQ(seen.printed[1] + seen.stored[1] + seen.ended[1], "");
    EXPECT_EQ(seen.printed[2] + seen.ended[2], "");
    EXPECT_THAT(seen.stored[2], HasSubstr("for rank 1 in all_gather 1 of world"));
    EXPECT_THAT(seen.stored[0], HasSubstr("all_gather 0 of world: step 3; 16 bytes sent, done\n"));
    EXPECT_THAT(seen.stored[0], HasSubstr("waiting for rank 1\n"));
}

TEST(watchdog, all_is_printed_where_nothing_can_be_stored) {
    Observed seen(3);
    seen.can_store = false;
    lose_a_rank(seen);
    EXPECT_THAT(seen.printed[0], HasSubstr("the last collectives of rank 0"));
    EXPECT_EQ(seen.printed[2], "");
}

TEST(watchdog, the_rank_is_named_as_the_world_counts) {
    Observed seen(4);
    run_traced_ranks(4, [&](Communicator& world, CollectiveLog& log) {
        const auto half = world.split(world.rank() / 2, 0, "half");
        const Watchdog watchdog(log, seen.options(world.rank(), 200ms));
        if (world.rank() == 2)
            while (!seen.over) std::this_thread::sleep_for(5ms);
        barrier(*half);
    });
    EXPECT_THAT(seen.printed[3], HasSubstr("rank 3 on host waited"));
    EXPECT_THAT(seen.printed[3], HasSubstr("for rank 2 in all_gather 0 of half"));
    EXPECT_EQ(seen.printed[0] + seen.printed[1] + seen.printed[2], "");
}

TEST(watchdog, work_of_ones_own_is_no_waiting) {
    Observed seen(2);
    run_traced_ranks(2, [&](Communicator& world, CollectiveLog& log) {
        // Below the 1.1 s that the first is under way, far above what a busy machine adds to a barrier.
        const Watchdog watchdog(log, seen.options(world.rank(), 700ms));
        const std::vector<int64_t> bytes = {8, 8};
        std::vector<int64_t> all(2), mine = {5};
        // Under way the whole time, but nobody waits for it: both ranks compute.
        const auto pending = world.all_gather(mine.data(), all.data(), bytes);
        for (int i = 0; i < 12; ++i) {
            std::this_thread::sleep_for(50ms);
            barrier(world); // waits, but never for long
        }
        std::this_thread::sleep_for(500ms);
        pending->wait();
    });
    EXPECT_FALSE(seen.over);
    EXPECT_EQ(seen.stored[0] + seen.stored[1], "");
}

TEST(watchdog, the_time_a_process_was_stopped_does_not_count) {
    // As after a laptop's lid or a debugger's stop: the entry is old, but this rank has not waited that long.
    CollectiveLog log(0);
    Observed seen(1);
    const int64_t id = log.begin("world", std::make_shared<std::vector<int>>(std::vector<int>{0, 1}), 0,
                                 CollectiveKind::all_gather, 8);
    std::this_thread::sleep_for(800ms);
    log.waiting(id, {1});
    {
        // Two looks, one every eighth of the limit, and half a second in which a busy machine may be late.
        const Watchdog watchdog(log, seen.options(0, 700ms));
        std::this_thread::sleep_for(200ms);
        log.end(id);
    }
    EXPECT_FALSE(seen.over);
    EXPECT_EQ(seen.printed[0] + seen.stored[0], ""); // the job would end a second later only
}

/// Notes a collective of rank 0 of two that has been given to a GPU, which says by `completed` when it is
/// done.
void give_to_gpu(CollectiveLog& log, std::function<bool()> completed) {
    static const auto members = std::make_shared<const std::vector<int>>(std::vector{0, 1});
    log.end_when(log.begin("data", members, 0, CollectiveKind::all_gather, 8), std::move(completed));
}

TEST(watchdog, a_question_that_hangs_in_the_driver_does_not_keep_the_job_alive) {
    Observed seen(1);
    CollectiveLog log(0);
    const Watchdog watchdog(log, seen.options(0, 200ms));
    give_to_gpu(log, [&] {
        while (!seen.over) std::this_thread::sleep_for(5ms);
        return false;
    });
    while (!seen.over) {
        const CollectiveLabel label(&log, "the rank's own thread goes on");
        std::this_thread::sleep_for(5ms);
    }
    EXPECT_THAT(seen.printed[0], HasSubstr("for ranks it cannot tell in all_gather 0 of data"));
}

TEST(watchdog, what_a_gpu_has_completed_is_no_waiting) {
    Observed seen(1);
    CollectiveLog log(0);
    {
        const Watchdog watchdog(log, seen.options(0, 1500ms));
        for (int i = 0; i < 40; ++i) {
            const auto end = CollectiveEntry::Clock::now() + 50ms;
            give_to_gpu(log, [end] { return CollectiveEntry::Clock::now() >= end; });
            std::this_thread::sleep_for(50ms);
        }
    }
    EXPECT_EQ(seen.printed[0] + seen.ended[0], "");
}

} // namespace
} // namespace braid::testing

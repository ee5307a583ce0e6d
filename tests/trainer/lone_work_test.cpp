#include "trainer/run/lone_work.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "parallel/agreement.h"
#include "parallel/watchdog.h"
#include "tests/parallel/traced_ranks.h"
#include "tests/trainer/checkpoint_fixture.h"

namespace braid {
namespace {

using namespace std::chrono_literals;
using ::testing::HasSubstr;

TEST(lone_work, every_rank_has_what_rank_0_made) {
    for (const int ranks : {1, 2, 3})
        run_thread_ranks(ranks, [](Communicator& world) {
            for (const auto interval : {0ms, 1h + 0ms}) {
                const std::string text = from_rank_0(world, interval, [&](const std::function<void()>& tick) {
                    EXPECT_EQ(world.rank(), 0);
                    for (int i = 0; i < 5; ++i) tick();
                    return std::string("made");
                });
                EXPECT_EQ(text, "made");
            }
        });
}

TEST(lone_work, a_failure_is_everybodys) {
    std::atomic<int> failed = 0;
    run_thread_ranks(3, [&](Communicator& world) {
        try {
            from_rank_0(world, 0ms, [](const std::function<void()>& tick) -> std::string {
                tick();
                throw CheckpointError("damaged");
            });
        } catch (const AgreedError& error) {
            EXPECT_EQ(error.exit_code(), ExitCode::checkpoint);
            EXPECT_THAT(error.what(), HasSubstr("damaged"));
            ++failed;
        }
    });
    EXPECT_EQ(failed, 3);
}

/// How many watchdogs report a stuck rank while rank 0 works for many times their limit.
int num_reports(bool ticks) {
    std::atomic<int> reports = 0;
    testing::run_traced_ranks(2, [&](Communicator& world, CollectiveLog& log) {
        const Watchdog watchdog(log, {.limit = 1000ms,
                                      .host = "host",
                                      .print = [](const std::string&) {},
                                      .store = [&](const std::string&) { return ++reports > 0; },
                                      .end_job = [] {}});
        from_rank_0(world, 20ms, [&](const std::function<void()>& tick) {
            for (int i = 0; i < 40; ++i) {
                std::this_thread::sleep_for(60ms);
                if (ticks) tick();
            }
            return std::string();
        });
    });
    return reports;
}

TEST(lone_work, no_watchdog_takes_it_for_stuck) {
    EXPECT_EQ(num_reports(true), 0);
    EXPECT_GT(num_reports(false), 0);
}

TEST(lone_work, signs_of_life_come_well_within_the_limit) {
    EXPECT_EQ(sign_of_life_interval(600), 10s);
    EXPECT_EQ(sign_of_life_interval(0), 10s);
    EXPECT_EQ(sign_of_life_interval(INT64_MAX), 10s);
    EXPECT_EQ(sign_of_life_interval(4), 1s);
}

// Verifying, which reads everything twice, says so at least once a block.
TEST(lone_work, verifying_a_checkpoint_ticks_for_each_block) {
    const test::TemporaryFolder folder;
    const std::string path = test::save(folder.path(), test::PretendedRun(1), 2, 2, 2);
    const CheckpointReader reader = CheckpointReader::open(path);
    size_t blocks = reader.manifest().files.size(), ticks = 0;
    for (const StoredTensor& tensor : reader.manifest().tensors)
        for (const StoredBox& box : tensor.boxes) blocks += box.blocks.size();
    EXPECT_EQ(find_resume_checkpoint(folder.path(), {}, [&] { ++ticks; })->step, 1);
    EXPECT_EQ(ticks, blocks);
}

} // namespace
} // namespace braid

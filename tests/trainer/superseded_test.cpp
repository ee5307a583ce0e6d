// What a start at an earlier step moves out of its way.
#include "trainer/run/superseded.h"

#include "base/atomic_file.h"
#include "tests/trainer/checkpoint_fixture.h"
#include "trainer/metrics/tensorboard.h"

namespace braid {
namespace {

namespace fs = std::filesystem;
using test::PretendedRun;
using test::TemporaryFolder;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

std::vector<int64_t> checkpoints_in(const std::string& folder) {
    std::vector<int64_t> steps;
    for (const CheckpointEntry& entry : list_checkpoints(folder)) steps.push_back(entry.step);
    return steps;
}

std::string lines(int64_t first, int64_t last) {
    std::string text;
    for (int64_t step = first; step <= last; ++step) text += fmt::format("{{\"step\":{}}}\n", step);
    return text;
}

/// A run of 20 steps with a checkpoint at each fifth.
void make_run(const TemporaryFolder& run) {
    for (const int64_t step : {5, 10, 15, 20}) test::save(run / "checkpoints", PretendedRun(step));
    test::write_file(run / "metrics.jsonl", lines(0, 20));
    test::write_file(run / "layers.jsonl", lines(1, 20));
    EventFile events(run.path(), 1);
    for (int64_t step = 1; step <= 20; ++step) events.write(step, {{"loss", 1}});
}

TEST(superseded, all_later_steps_go_together_and_earlier_ones_stay) {
    const TemporaryFolder run;
    make_run(run);
    const Superseded moved = retire_later_steps(run.path(), 10);
    EXPECT_EQ(moved.folder, run / "superseded/0001-after-step-10");
    EXPECT_EQ(moved.checkpoints, 2);
    EXPECT_EQ(moved.lines, 10);
    EXPECT_THAT(moved.describe(), HasSubstr("0001-after-step-10: 2 checkpoints, 10 lines"));
    EXPECT_THAT(checkpoints_in(run / "checkpoints"), ElementsAre(10, 5));
    EXPECT_THAT(checkpoints_in(moved.folder + "/checkpoints"), ElementsAre(20, 15));
    EXPECT_EQ(find_latest_checkpoint(moved.folder + "/checkpoints").step, 20); // whole
    EXPECT_EQ(test::read_file(run / "metrics.jsonl"), lines(0, 10));
    EXPECT_EQ(test::read_file(moved.folder + "/metrics.jsonl"), lines(11, 20));
    EXPECT_EQ(test::read_file(run / "layers.jsonl"), lines(1, 10));
    EXPECT_EQ(test::read_file(moved.folder + "/layers.jsonl"), lines(11, 20));
    EXPECT_EQ(event_files(run.path()).size(), 1u);
    EXPECT_EQ(event_files(moved.folder).size(), 1u);
    for (const auto& entry : fs::recursive_directory_iterator(run.path()))
        EXPECT_FALSE(is_temporary_name(entry.path().filename().string())) << entry.path();
}

TEST(superseded, where_nothing_is_later_nothing_appears) {
    const TemporaryFolder run;
    make_run(run);
    EXPECT_EQ(retire_later_steps(run.path(), 20).folder, "");
    EXPECT_FALSE(fs::exists(run / "superseded"));
    EXPECT_EQ(retire_later_steps(run.path(), 20).describe(), "");
    const TemporaryFolder empty;
    EXPECT_EQ(retire_later_steps(empty.path(), -1).folder, "");
    EXPECT_TRUE(fs::is_empty(empty.path()));
}

TEST(superseded, each_time_has_a_folder_of_its_own) {
    const TemporaryFolder run;
    make_run(run);
    retire_later_steps(run.path(), 15);
    fs::rename(run / "superseded/0001-after-step-15", run / "superseded/0007-after-step-15");
    EXPECT_EQ(retire_later_steps(run.path(), 5).folder, run / "superseded/0008-after-step-5");
    EXPECT_EQ(retire_later_steps(run.path(), -1).folder, run / "superseded/0009-after-step-0");
    EXPECT_THAT(checkpoints_in(run / "checkpoints"), IsEmpty());
    EXPECT_EQ(test::read_file(run / "superseded/0009-after-step-0/metrics.jsonl"), lines(0, 5));
}

TEST(superseded, a_torn_line_is_dropped_and_makes_no_folder) {
    const TemporaryFolder run;
    test::write_file(run / "metrics.jsonl", lines(1, 3) + "{\"ste");
    const Superseded moved = retire_later_steps(run.path(), 3);
    EXPECT_EQ(moved.folder, "");
    EXPECT_EQ(moved.unreadable, 1);
    EXPECT_EQ(test::read_file(run / "metrics.jsonl"), lines(1, 3));
}

// A checkpoint that does not verify is as much in the way as one that does.
TEST(superseded, damaged_checkpoints_go_too) {
    const TemporaryFolder run;
    make_run(run);
    fs::remove(run / "checkpoints/step-00000020/manifest.json");
    EXPECT_EQ(retire_later_steps(run.path(), 15).checkpoints, 1);
    EXPECT_TRUE(fs::exists(run / "superseded/0001-after-step-15/checkpoints/step-00000020/index.h5"));
}

// Lines leave only when no checkpoint is left that needs them: whatever stops the move, a plain start finds
// no hole.
TEST(superseded, lines_go_after_the_checkpoints) {
    const TemporaryFolder run;
    make_run(run);
    fs::rename(run / "metrics.jsonl", run / "elsewhere");
    fs::create_directory(run / "metrics.jsonl"); // which stops the move when it comes to the lines
    EXPECT_THROW(retire_later_steps(run.path(), 10), DataError);
    EXPECT_THAT(checkpoints_in(run / "checkpoints"), ElementsAre(10, 5));
    EXPECT_THAT(checkpoints_in(run / "superseded/0001-after-step-10/checkpoints"), ElementsAre(20, 15));
    fs::remove(run / "metrics.jsonl");
    fs::rename(run / "elsewhere", run / "metrics.jsonl");
    EXPECT_EQ(retire_later_steps(run.path(), 10).folder, run / "superseded/0002-after-step-10");
    EXPECT_EQ(test::read_file(run / "metrics.jsonl"), lines(0, 10));
    EXPECT_EQ(test::read_file(run / "superseded/0002-after-step-10/metrics.jsonl"), lines(11, 20));
}

TEST(superseded, a_relative_link_to_a_checkpoint_still_leads_to_it) {
    const TemporaryFolder run;
    make_run(run);
    fs::create_directory(run / "disk");
    fs::rename(run / "checkpoints/step-00000020", run / "disk/moved");
    fs::create_directory_symlink("../disk/moved", run / "checkpoints/step-00000020");
    EXPECT_EQ(retire_later_steps(run.path(), 15).checkpoints, 1);
    CheckpointReader::open(run / "superseded/0001-after-step-15/checkpoints/step-00000020").verify();
    CheckpointReader::open(run / "disk/moved").verify();
    EXPECT_THAT(checkpoints_in(run / "checkpoints"), ElementsAre(15, 10, 5));
}

TEST(superseded, checkpoints_on_another_disk_stay_on_it) {
    char other[] = "/dev/shm/braid-superseded-XXXXXX";
    if (::mkdtemp(other) == nullptr) GTEST_SKIP() << "no folder in /dev/shm";
    const TemporaryFolder run;
    make_run(run);
    fs::copy(run / "checkpoints", other, fs::copy_options::recursive);
    fs::remove_all(run / "checkpoints");
    fs::create_directory_symlink(other, run / "checkpoints");
    const Superseded moved = retire_later_steps(run.path(), 10);
    EXPECT_EQ(moved.checkpoints, 2);
    EXPECT_THAT(checkpoints_in(run / "checkpoints"), ElementsAre(10, 5));
    EXPECT_EQ(find_latest_checkpoint(moved.folder + "/checkpoints").step, 20);
    fs::remove_all(other);
}

} // namespace
} // namespace braid

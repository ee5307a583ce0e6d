// Many checkpoints in one folder: which is the newest, which stay, and what is in the way.
#include "tests/trainer/checkpoint_fixture.h"

namespace braid {
namespace {

namespace fs = std::filesystem;
using test::PretendedRun;
using test::TemporaryFolder;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::vector<int64_t> checkpoint_steps(const std::string& folder) {
    std::vector<int64_t> steps;
    for (const CheckpointEntry& entry : list_checkpoints(folder)) steps.push_back(entry.step);
    return steps;
}

TEST(checkpoint_folder, names_and_steps) {
    EXPECT_EQ(checkpoint_name(100), "step-00000100");
    EXPECT_EQ(checkpoint_name(1234567890), "step-1234567890");
    EXPECT_EQ(step_of_checkpoint("step-00000100"), 100);
    EXPECT_EQ(step_of_checkpoint("step-1234567890"), 1234567890);
    for (const std::string name :
         {"step-100", "step-", "step-0000010x", "step-00000100.tmp-1-00000000", "step--0000001",
          "step-0000000100", "latest", "", "step-99999999999999999999"})
        EXPECT_EQ(step_of_checkpoint(name), std::nullopt) << name;
}

TEST(checkpoint_folder, the_newest_that_verifies_is_found_and_the_others_are_named) {
    const TemporaryFolder folder;
    EXPECT_EQ(find_resume_checkpoint(folder / "absent"), std::nullopt);
    EXPECT_EQ(find_resume_checkpoint(folder.path()), std::nullopt);
    for (const int64_t step : {5, 10, 20, 30}) test::save(folder.path(), PretendedRun(step));
    EXPECT_EQ(find_resume_checkpoint(folder.path())->step, 30);

    test::write_file(folder / "step-00000030/index.h5", "x");
    fs::remove(folder / "step-00000020/manifest.json");
    const auto latest = find_resume_checkpoint(folder.path());
    ASSERT_TRUE(latest.has_value());
    EXPECT_EQ(latest->path, folder / "step-00000010");
    ASSERT_EQ(latest->rejected.size(), 2u);
    EXPECT_THAT(latest->rejected[0].reason, HasSubstr("step-00000030/index.h5: expected"));
    EXPECT_THAT(latest->rejected[1].reason, HasSubstr("step-00000020/manifest.json"));

    fs::remove(folder / "step-00000010/rank-00000.h5");
    fs::remove_all(folder / "step-00000005");
    const std::string message =
        test::message_of<CheckpointError>([&] { find_resume_checkpoint(folder.path()); });
    for (const char* part : {"none of 3", "step-00000030", "step-00000020", "step-00000010"})
        EXPECT_THAT(message, HasSubstr(part));
}

TEST(checkpoint_folder, keeps_the_newest) {
    const TemporaryFolder folder;
    for (const int64_t step : {10, 20, 30, 40})
        test::save(folder.path(), PretendedRun(step), 1, 0, 1, {2, 512});
    EXPECT_THAT(checkpoint_steps(folder.path()), ElementsAre(40, 30));
    EXPECT_EQ(std::distance(fs::directory_iterator(folder.path()), fs::directory_iterator()), 2);
}

TEST(checkpoint_folder, an_invalid_one_does_not_count_as_kept_and_later_ones_stay) {
    const TemporaryFolder folder;
    for (const int64_t step : {10, 20, 30, 40, 50}) test::save(folder.path(), PretendedRun(step));
    fs::remove(folder / "step-00000030/manifest.json");
    prune_checkpoints(folder.path(), 40, 2);
    EXPECT_THAT(checkpoint_steps(folder.path()), ElementsAre(50, 40, 30, 20));
    prune_checkpoints(folder.path(), 40, 1);
    EXPECT_THAT(checkpoint_steps(folder.path()), ElementsAre(50, 40));
    prune_checkpoints(folder.path(), 40, 0);
    EXPECT_THAT(checkpoint_steps(folder.path()), ElementsAre(50, 40));
}

TEST(checkpoint_folder, a_step_saved_again_replaces_a_damaged_one) {
    const TemporaryFolder folder;
    const PretendedRun run(10);
    const std::string path = test::save(folder.path(), PretendedRun(10), 3);
    fs::remove(path + "/manifest.json");
    test::save(folder.path(), run, 1);
    const CheckpointReader reader = CheckpointReader::open(path);
    reader.verify();
    test::expect_equal(reader, run);
    EXPECT_EQ(std::distance(fs::directory_iterator(folder.path()), fs::directory_iterator()), 1);
}

TEST(checkpoint_folder, leftovers_of_killed_processes_are_removed_and_nothing_else) {
    const TemporaryFolder folder;
    fs::create_directories(folder / "step-00000010.tmp-4711-0123abcd/x");
    test::write_file(folder / "step-00000010.tmp-4711-0123abcd/rank-00000.h5", "torn");
    fs::create_directory(folder / "step-00000010.tmp-mine");
    test::write_file(folder / "notes.tmp-4711-0123abcd", "not ours");
    test::save(folder.path(), PretendedRun(20));
    EXPECT_FALSE(fs::exists(folder / "step-00000010.tmp-4711-0123abcd"));
    EXPECT_TRUE(fs::exists(folder / "step-00000010.tmp-mine"));
    EXPECT_TRUE(fs::exists(folder / "notes.tmp-4711-0123abcd"));
}

// step-N -> a folder elsewhere, as after moving it to a larger disk.
void link_elsewhere(const std::string& path, const std::string& elsewhere) {
    fs::rename(path, elsewhere);
    fs::create_directory_symlink(elsewhere, path);
}

TEST(checkpoint_folder, a_checkpoint_that_was_moved_and_linked_back_is_read_like_any_other) {
    const TemporaryFolder folder, elsewhere;
    test::save(folder.path(), PretendedRun(10));
    link_elsewhere(test::save(folder.path(), PretendedRun(20)), elsewhere / "moved");
    const auto latest = find_resume_checkpoint(folder.path());
    ASSERT_TRUE(latest.has_value());
    EXPECT_EQ(latest->step, 20);
    EXPECT_TRUE(latest->rejected.empty());
    prune_checkpoints(folder.path(), 20, 1); // it counts as kept
    EXPECT_THAT(checkpoint_steps(folder.path()), ElementsAre(20));
    // The step saved again takes the link's place; what was linked to stays.
    test::save(folder.path(), PretendedRun(20));
    EXPECT_FALSE(fs::is_symlink(folder / "step-00000020"));
    CheckpointReader::open(elsewhere / "moved").verify();
    CheckpointReader::open(folder / "step-00000020").verify();
}

TEST(checkpoint_folder, only_the_link_to_a_checkpoint_elsewhere_is_removed) {
    const TemporaryFolder folder, elsewhere;
    for (const int64_t step : {10, 20, 30}) test::save(folder.path(), PretendedRun(step));
    link_elsewhere(folder / "step-00000010", elsewhere / "moved");
    fs::create_directory_symlink(elsewhere / "moved", folder / "step-00000015.tmp-4711-0123abcd");
    fs::create_directory_symlink(elsewhere / "absent", folder / "step-00000005");
    prune_checkpoints(folder.path(), 30, 1);
    remove_temporary_checkpoints(folder.path());
    EXPECT_EQ(std::distance(fs::directory_iterator(folder.path()), fs::directory_iterator()), 1);
    CheckpointReader::open(elsewhere / "moved").verify();
}

TEST(checkpoint_folder, a_path_is_a_checkpoint_a_run_or_a_folder_of_checkpoints) {
    const TemporaryFolder folder;
    const std::string checkpoints = folder / "run/checkpoints";
    test::save(checkpoints, PretendedRun(10));
    const std::string newest = test::save(checkpoints, PretendedRun(20));
    for (const std::string& path : {newest, checkpoints, folder / "run"})
        EXPECT_EQ(resolve_checkpoint(path), newest);
    EXPECT_THROW(resolve_checkpoint(folder.path()), CheckpointError);
    EXPECT_THROW(resolve_checkpoint(folder / "absent"), CheckpointError);
}

} // namespace
} // namespace braid

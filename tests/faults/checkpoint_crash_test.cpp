// A sweep over every call that changes a file while a checkpoint is saved: each one fails, or is the last the
// process makes. Whatever happens, the newest checkpoint that verifies is the one from before or the new one,
// bit for bit, nothing torn stands under a checkpoint's name, and the next save works.
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <map>

#include "tests/faults/file_fault_injection.h"
#include "tests/trainer/checkpoint_fixture.h"

namespace braid {
namespace {

namespace fs = std::filesystem;
using test::FileCall;
using test::FileFault;
using test::PretendedRun;
using test::TemporaryFolder;

constexpr SaveOptions kOptions{2, 512}; // keep two, so that a save also removes one

struct Scenario {
    int num_ranks;
    int64_t step; // saved after steps 10 and 20
};

void save(const std::string& folder, int64_t step, int num_ranks) {
    test::save(folder, PretendedRun(step), num_ranks, num_ranks, 1, kOptions);
}

void prepare(const std::string& folder, const Scenario& scenario) {
    save(folder, 10, scenario.num_ranks);
    save(folder, 20, scenario.num_ranks);
}

// The calls that one save makes. With several ranks their order varies, their number does not.
int64_t count_calls(const Scenario& scenario) {
    const TemporaryFolder folder;
    prepare(folder.path(), scenario);
    test::inject_file_fault(FileFault::none, 0);
    save(folder.path(), scenario.step, scenario.num_ranks);
    return test::end_file_faults();
}

enum class End { saved, refused, killed, other };

// Saves under a fault in a process of its own, which then saves the next step without one if it still lives.
End save_in_child(const std::string& folder, const Scenario& scenario, FileFault fault, int64_t at) {
    const pid_t child = ::fork();
    if (child == 0) {
        int code = 0;
        try {
            test::inject_file_fault(fault, at);
            save(folder, scenario.step, scenario.num_ranks);
        } catch (const Error& error) {
            code = static_cast<int>(error.exit_code());
        } catch (...) {
            code = 1;
        }
        test::end_file_faults();
        ::_exit(code);
    }
    int status = 0;
    if (::waitpid(child, &status, 0) != child) return End::other;
    if (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) return End::killed;
    if (!WIFEXITED(status)) return End::other;
    return WEXITSTATUS(status) == 0 ? End::saved : WEXITSTATUS(status) == 7 ? End::refused : End::other;
}

void expect_whole(const std::string& folder, const Scenario& scenario, End end) {
    EXPECT_NE(end, End::other) << "expected success, exit code 7 or the kill";
    const LatestCheckpoint latest = find_latest_checkpoint(folder);
    ASSERT_FALSE(latest.path.empty());
    for (const auto& rejected : latest.rejected) ADD_FAILURE() << "torn: " << rejected.reason;
    const bool is_old = end != End::saved && latest.step == 20;
    EXPECT_TRUE(is_old || latest.step == scenario.step) << latest.step;
    test::expect_equal(CheckpointReader::open(latest.path), PretendedRun(latest.step));

    save(folder, 40, scenario.num_ranks);
    const LatestCheckpoint next = find_latest_checkpoint(folder);
    EXPECT_EQ(next.step, 40);
    test::expect_equal(CheckpointReader::open(next.path), PretendedRun(40));
    EXPECT_EQ(std::distance(fs::directory_iterator(folder), fs::directory_iterator()), 2) << "leftovers";
}

void sweep(const Scenario& scenario, FileFault fault) {
    const int64_t num_calls = count_calls(scenario);
    ASSERT_GT(num_calls, 30); // the injection sees the calls of our code and of HDF5
    const TemporaryFolder before;
    prepare(before.path(), scenario);
    std::map<End, int> ends;
    for (int64_t at = 1; at <= num_calls && !::testing::Test::HasFailure(); ++at) {
        SCOPED_TRACE(fmt::format("{} ranks, step {}, fault at call {} of {}", scenario.num_ranks,
                                 scenario.step, at, num_calls));
        const TemporaryFolder folder;
        fs::copy(before.path(), folder.path(), fs::copy_options::recursive);
        const End end = save_in_child(folder.path(), scenario, fault, at);
        ++ends[end];
        expect_whole(folder.path(), scenario, end);
    }
    // What the faults did shows that they were met: only a close, or what removes files, may fail unnoticed.
    const End expected = fault == FileFault::kill ? End::killed : End::refused;
    EXPECT_GE(ends[expected], fault == FileFault::kill ? num_calls : num_calls / 2);
    fmt::print("{} calls: {} saved, {} refused, {} killed\n", num_calls, ends[End::saved], ends[End::refused],
               ends[End::killed]);
}

constexpr Scenario kNewStep{1, 30}, kSameStep{1, 20}, kTwoRanks{2, 30};

TEST(checkpoint_crash, killed_at_every_call) {
    sweep(kNewStep, FileFault::kill);
}
TEST(checkpoint_crash, killed_at_every_call_while_replacing_a_step) {
    sweep(kSameStep, FileFault::kill);
}
TEST(checkpoint_crash, killed_at_every_call_of_two_ranks) {
    sweep(kTwoRanks, FileFault::kill);
}
TEST(checkpoint_crash, every_call_fails_once) {
    sweep(kNewStep, FileFault::fail_once);
}
TEST(checkpoint_crash, every_call_fails_once_while_replacing_a_step) {
    sweep(kSameStep, FileFault::fail_once);
}
TEST(checkpoint_crash, every_call_of_two_ranks_fails_once) {
    sweep(kTwoRanks, FileFault::fail_once);
}
TEST(checkpoint_crash, the_disk_is_full_from_every_call_on) {
    sweep(kNewStep, FileFault::fail_onward);
}
TEST(checkpoint_crash, the_disk_is_full_from_every_call_of_two_ranks_on) {
    sweep(kTwoRanks, FileFault::fail_onward);
}

TEST(checkpoint_crash, short_writes_are_continued) {
    const TemporaryFolder folder;
    test::inject_file_fault(FileFault::short_write, 1);
    save(folder.path(), 10, 1);
    test::end_file_faults();
    EXPECT_EQ(find_latest_checkpoint(folder.path()).step, 10);
}

// A full disk is not the end of the process: the same one saves again once there is room.
TEST(checkpoint_crash, the_same_process_saves_after_a_failure) {
    const TemporaryFolder folder;
    const int64_t num_calls = count_calls(kNewStep);
    for (int64_t at = 1; at <= num_calls; at += 3) {
        test::inject_file_fault(FileFault::fail_once, at);
        try {
            save(folder.path(), 10, 1);
        } catch (const Error& error) {
            EXPECT_EQ(error.exit_code(), ExitCode::cannot_write) << error.what();
        }
        test::end_file_faults();
    }
    save(folder.path(), 30, 1);
    EXPECT_EQ(find_latest_checkpoint(folder.path()).step, 30);
}

// What a power loss would need: before the checkpoint gets its name, every file in it is synced after its
// last write, then the folder after its last file; the parent folder follows.
TEST(checkpoint_crash, all_is_on_disk_before_the_name_is) {
    for (const int64_t step : {30, 20}) {
        const TemporaryFolder folder;
        prepare(folder.path(), kNewStep);
        struct stat parent;
        ASSERT_EQ(::stat(folder.path().c_str(), &parent), 0);
        test::start_recording();
        save(folder.path(), step, 1);
        const std::vector<FileCall> calls = test::end_recording();

        std::map<uint64_t, bool> synced; // by inode, since its last write
        std::map<uint64_t, std::string> created;
        uint64_t named = 0;
        bool parent_synced = false;
        for (const FileCall& call : calls) {
            if (call.name == "create") created[call.inode] = call.path;
            if (call.name == "create" || call.name == "write") synced[call.inode] = false;
            if (call.name == "sync") synced[call.inode] = true;
            if (call.name == "sync" && call.inode == parent.st_ino && named) parent_synced = true;
            if (call.name != "rename" || call.to_path != folder / checkpoint_name(step) || named) continue;
            for (const auto& [inode, path] : created)
                EXPECT_TRUE(synced[inode]) << path << " is renamed with bytes that were not synced";
            EXPECT_GE(created.size(), 3u); // rank file, index, manifest
            EXPECT_TRUE(synced[call.inode]) << "the folder was not synced";
            named = call.inode;
        }
        EXPECT_NE(named, 0u);
        EXPECT_TRUE(parent_synced) << "the parent folder was not synced after the rename";
    }
}

} // namespace
} // namespace braid

#include "trainer/run/run_folder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "tests/support/temporary_folder.h"
#include "trainer/machine/build_info.h"
#include "trainer/run/run_record.h"

namespace braid {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using test::TemporaryFolder;
using ::testing::HasSubstr;
using ::testing::MatchesRegex;

/// What `action` does in a child process: the exit code of the Error it throws, 0 if it throws none, and the
/// message.
struct ChildResult {
    int exit_code;
    std::string message;
};

template <typename ActionType>
ChildResult in_child(const ActionType& action) {
    int ends[2];
    EXPECT_EQ(::pipe(ends), 0);
    const pid_t child = ::fork();
    if (child == 0) {
        int code = 0;
        try {
            action();
        } catch (const Error& error) {
            code = static_cast<int>(error.exit_code());
            if (::write(ends[1], error.what(), std::strlen(error.what())) < 0) code = 99;
        }
        ::_exit(code);
    }
    ::close(ends[1]);
    ChildResult result;
    char buffer[512];
    for (ssize_t count; (count = ::read(ends[0], buffer, sizeof buffer)) > 0;)
        result.message.append(buffer, static_cast<size_t>(count));
    ::close(ends[0]);
    int status = 0;
    ::waitpid(child, &status, 0);
    result.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    return result;
}

TEST(run_folder, a_new_folder_and_its_config) {
    const TemporaryFolder parent;
    const std::string path = parent / "runs/nano";
    EXPECT_EQ(read_stored_config(path), std::nullopt);
    {
        RunFolder folder(path + "//");
        EXPECT_EQ(folder.path(), path);
        EXPECT_EQ(folder.checkpoints(), path + "/checkpoints");
        EXPECT_EQ(folder.stored_config(), std::nullopt);
        folder.store_config("a: 1\n");
        EXPECT_EQ(folder.stored_config(), "a: 1\n");
    }
    RunFolder again(path);
    EXPECT_EQ(again.stored_config(), "a: 1\n");
    EXPECT_EQ(read_stored_config(path), "a: 1\n");
}

TEST(run_folder, a_changed_config_keeps_the_old_ones) {
    const TemporaryFolder parent;
    RunFolder folder(parent / "run");
    for (const char* yaml : {"a: 1\n", "a: 1\n", "a: 2\n", "a: 2\n", "a: 3\n"}) folder.store_config(yaml);
    EXPECT_EQ(folder.stored_config(), "a: 3\n");
    EXPECT_EQ(test::read_file(parent / "run/config-1.yaml"), "a: 1\n");
    EXPECT_EQ(test::read_file(parent / "run/config-2.yaml"), "a: 2\n");
    EXPECT_FALSE(fs::exists(parent / "run/config-3.yaml"));
}

TEST(run_folder, a_second_job_is_refused_and_told_who_holds_it) {
    const TemporaryFolder parent;
    const std::string path = parent / "run";
    {
        const RunFolder folder(path);
        const ChildResult second = in_child([&] { RunFolder other(path); });
        EXPECT_EQ(second.exit_code, 7);
        EXPECT_THAT(second.message, HasSubstr(path));
        EXPECT_THAT(second.message, HasSubstr("pid " + std::to_string(::getpid()) + " on host "));
    }
    EXPECT_EQ(in_child([&] { RunFolder other(path); }).exit_code, 0);
}

TEST(run_folder, strangers_folders_are_refused) {
    const TemporaryFolder parent;
    for (const char* name : {"run.json", "metrics.jsonl", "layers.jsonl", "checkpoints"}) {
        const std::string path = parent / ("with-" + std::string(name));
        fs::create_directory(path);
        test::write_file(path + "/" + name, "mine");
        try {
            RunFolder folder(path);
            FAIL() << name;
        } catch (const ConfigError& error) {
            EXPECT_THAT(error.what(), HasSubstr(name));
        }
        EXPECT_EQ(test::read_file(path + "/" + name), "mine");
    }
    test::write_file(parent / "file", "");
    EXPECT_THROW(RunFolder(parent / "file"), WriteError);
    EXPECT_THROW(RunFolder(parent / "file/below"), WriteError);
    EXPECT_THROW(RunFolder(""), ConfigError);
    fs::create_directory(parent / "linked");
    test::write_file(parent / "elsewhere", "a: 1\n");
    fs::create_symlink("../elsewhere", parent / "linked/config.yaml");
    EXPECT_THROW(read_stored_config(parent / "linked"), ConfigError);
}

TEST(run_folder, the_log_has_a_time_before_each_line) {
    const TemporaryFolder parent;
    for (int start = 0; start < 2; ++start) {
        RunFolder folder(parent / "run");
        folder.store_config("a: 1\n");
        folder.log("started\nwith two lines\n");
        folder.log("");
    }
    const std::string time = "[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z ";
    const std::string one = time + "started\n" + time + "with two lines\n" + time + "\n";
    EXPECT_THAT(test::read_file(parent / "run/log.txt"), MatchesRegex(one + one));
}

RunStart some_start() {
    RunStart start;
    start.command = {"braid", "train", "a b.yaml", "x=\xff"};
    start.hosts = {"alpha", "beta"};
    start.devices = {"cpu", "cpu"};
    start.threads = 4;
    start.libraries = {{"mpi", "Open MPI 4.1.4"}};
    return start;
}

TEST(run_record, tells_what_ran) {
    const TemporaryFolder folder;
    RunRecord record(folder.path(), some_start());
    const json file = json::parse(test::read_file(folder / "run.json"));
    ASSERT_EQ(file["starts"].size(), 1u);
    EXPECT_FALSE(file.contains("exit_code"));
    EXPECT_EQ(file["step"], 0);
    const json& start = file["starts"][0];
    EXPECT_EQ(start["command"], (json{"braid", "train", "a b.yaml", "x=\xEF\xBF\xBD"}));
    EXPECT_EQ(start["ranks"], 2);
    EXPECT_EQ(start["hosts"], (json{"alpha", "beta"}));
    EXPECT_EQ(start["threads"], 4);
    EXPECT_EQ(start["commit"], build_info().commit);
    EXPECT_EQ(start["libraries"]["mpi"], "Open MPI 4.1.4");
    for (const char* name : {"hdf5", "openblas", "openssl", "zlib", "zstd", "highway", "fmt", "yaml-cpp"})
        EXPECT_THAT(start["libraries"][name].get<std::string>(), ::testing::ContainsRegex("[0-9]\\.[0-9]"))
            << name;
    EXPECT_FALSE(start.contains("parent"));
    EXPECT_FALSE(start.contains("end_time"));
    EXPECT_FALSE(start.contains("exit_code"));
}

TEST(run_record, build_info_says_how_it_was_built) {
    const BuildInfo& build = build_info();
    EXPECT_THAT(build.commit, MatchesRegex("unknown|[0-9a-f]{40}(-dirty)?"));
    EXPECT_THAT(build.compiler, MatchesRegex("[A-Za-z]+ [0-9.]+"));
    EXPECT_THAT(build.flags, HasSubstr("-march=x86-64-v3"));
    EXPECT_EQ(build.mpi, BRAID_MPI != 0);
    EXPECT_FALSE(build.type.empty());
    EXPECT_FALSE(build.version.empty());
}

TEST(run_record, resumes_add_up) {
    const TemporaryFolder folder;
    {
        RunRecord record(folder.path(), some_start());
        record.update({100, 1000, 5e15});
        // Killed here: its work up to the last checkpoint counts.
    }
    RunStart second = some_start();
    second.parent = "checkpoints/step-00000100";
    second.step = 100;
    second.tokens = 1000;
    RunRecord record(folder.path(), second);
    record.update({150, 1500, 2e15});
    record.finish(ExitCode::stopped, RunProgress{160, 1600, 3e15});
    const json file = json::parse(test::read_file(folder / "run.json"));
    EXPECT_EQ(file["step"], 160);
    EXPECT_EQ(file["tokens"], 1600);
    EXPECT_EQ(file["flops"], 8e15);
    EXPECT_EQ(file["exit_code"], 75);
    ASSERT_EQ(file["starts"].size(), 2u);
    const json &killed = file["starts"][0], &stopped = file["starts"][1];
    EXPECT_FALSE(killed.contains("exit_code"));
    EXPECT_EQ(killed["last_step"], 100);
    EXPECT_EQ(killed["tokens"], 1000);
    EXPECT_EQ(stopped["first_step"], 101);
    EXPECT_EQ(stopped["last_step"], 160);
    EXPECT_EQ(stopped["tokens"], 600);
    EXPECT_EQ(stopped["parent"], "checkpoints/step-00000100");
    EXPECT_EQ(stopped["exit_code"], 75);
    EXPECT_GE(stopped["end_time"].get<std::string>(), stopped["start_time"].get<std::string>());
    EXPECT_DOUBLE_EQ(file["hours"].get<double>(),
                     killed["hours"].get<double>() + stopped["hours"].get<double>());
}

TEST(run_record, a_failed_start_keeps_its_last_progress) {
    const TemporaryFolder folder;
    RunRecord record(folder.path(), some_start());
    record.update({100, 1000, 5e15});
    record.finish(ExitCode::non_finite);
    const json file = json::parse(test::read_file(folder / "run.json"));
    EXPECT_EQ(file["exit_code"], 5);
    EXPECT_EQ(file["tokens"], 1000);
}

TEST(run_record, other_texts_are_refused_and_kept) {
    const TemporaryFolder folder;
    for (const char* text : {"", "[]", "{}", R"({"starts": 1})", R"({"starts": [1]})",
                             R"({"starts": [{"flops": "1", "hours": 1}]})", R"({"starts": []} x)"}) {
        test::write_file(folder / "run.json", text);
        EXPECT_THROW(RunRecord(folder.path(), some_start()), ConfigError) << text;
        EXPECT_EQ(test::read_file(folder / "run.json"), text);
    }
}

// A file size limit stands for a full disk.
TEST(run_record, a_full_disk_leaves_the_last_record) {
    const TemporaryFolder folder;
    RunRecord record(folder.path(), some_start());
    const std::string before = test::read_file(folder / "run.json");
    const ChildResult result = in_child([&] {
        ::signal(SIGXFSZ, SIG_IGN);
        const rlimit limit{200, 200};
        ::setrlimit(RLIMIT_FSIZE, &limit);
        record.update({100, 1000, 5e15});
    });
    EXPECT_EQ(result.exit_code, 7);
    EXPECT_EQ(test::read_file(folder / "run.json"), before);
    EXPECT_EQ(std::distance(fs::directory_iterator(folder.path()), fs::directory_iterator()), 1);
}

TEST(run_folder, temporary_files_of_killed_runs_go_and_nothing_else) {
    const TemporaryFolder outside;
    const std::string path = outside / "run";
    fs::create_directories(path + "/checkpoints/step-00000002.tmp-77-0123abcd");
    fs::create_directories(path + "/run.json.tmp-77-0123abcd.d");
    fs::create_directories(path + "/config.yaml.tmp-77-00000000"); // a folder, which is not ours
    const std::vector<std::string> ours{
        "run.json.tmp-77-0123abcd",          "config.yaml.tmp-1-00000001",
        "config-12.yaml.tmp-1-00000001",     "metrics.jsonl.tmp-123456-89abcdef",
        "layers.jsonl.tmp-1-00000001",       "events.out.tfevents.1.tmp-1-00000001",
        "profile-rank-3.json.tmp-1-00000001"};
    const std::vector<std::string> others{
        "config.yaml",  "notes.tmp-1-00000001", "run.json.tmp-1-0000000g",         "run.json.tmp-1-000001",
        "run.json.tmp", "tmp-1-00000001",       "checkpoints/notes.tmp-1-00000001"};
    for (const auto* names : {&ours, &others})
        for (const std::string& name : *names) test::write_file(path + "/" + name, "x");
    test::write_file(outside / "target", "x");
    fs::create_symlink(outside / "target", path + "/run.json.tmp-9-00000009");

    RunFolder folder(path);
    folder.prepare();
    for (const std::string& name : ours) EXPECT_FALSE(fs::exists(path + "/" + name)) << name;
    for (const std::string& name : others) EXPECT_TRUE(fs::exists(path + "/" + name)) << name;
    EXPECT_FALSE(fs::exists(path + "/checkpoints/step-00000002.tmp-77-0123abcd"));
    EXPECT_TRUE(fs::exists(path + "/config.yaml.tmp-77-00000000"));
    EXPECT_TRUE(fs::exists(outside / "target"));
    EXPECT_TRUE(fs::is_symlink(path + "/run.json.tmp-9-00000009"));
    for (const auto& entry : fs::directory_iterator(path + "/checkpoints"))
        EXPECT_EQ(entry.path().filename(), "notes.tmp-1-00000001"); // nor does trying things out leave any
}

TEST(run_folder, temporary_files_behind_a_link_stay) {
    const TemporaryFolder outside;
    const std::string inside = outside / "elsewhere/step-00000002.tmp-77-0123abcd";
    fs::create_directories(inside);
    fs::create_directories(outside / "run");
    test::write_file(outside / "run/config.yaml", "x");
    fs::create_directory_symlink(outside / "elsewhere", outside / "run/checkpoints");
    RunFolder(outside / "run").prepare();
    EXPECT_TRUE(fs::exists(inside));
}

TEST(run_folder, another_folder_of_its_name_is_left_alone) {
    const TemporaryFolder outside;
    const std::string path = outside / "run";
    {
        RunFolder folder(path);
        folder.expect_in_place();
        fs::rename(path, outside / "moved");
        fs::create_directory(path);
        test::write_file(path + "/log.txt", "of somebody else");
        EXPECT_THROW(folder.expect_in_place(), WriteError);
    }
    EXPECT_TRUE(fs::exists(path + "/log.txt"));
}

} // namespace
} // namespace braid

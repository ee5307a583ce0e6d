#include "base/atomic_file.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/temporary_folder.h"

namespace braid {
namespace {

namespace fs = std::filesystem;
using test::TemporaryFolder;

mode_t mode_of(const std::string& path) {
    struct stat status;
    EXPECT_EQ(::stat(path.c_str(), &status), 0) << path;
    return status.st_mode & 0777;
}

size_t num_entries(const std::string& folder) {
    return static_cast<size_t>(std::distance(fs::directory_iterator(folder), fs::directory_iterator()));
}

TEST(atomic_file, publishes_a_file_whole) {
    const TemporaryFolder folder;
    write_file_atomically(folder / "a.txt", "hello");
    EXPECT_EQ(test::read_file(folder / "a.txt"), "hello");
    EXPECT_EQ(num_entries(folder.path()), 1u);
}

TEST(atomic_file, refuses_to_replace_unless_told) {
    const TemporaryFolder folder;
    write_file_atomically(folder / "a.txt", "old");
    EXPECT_THROW(write_file_atomically(folder / "a.txt", "new"), WriteError);
    EXPECT_EQ(test::read_file(folder / "a.txt"), "old");
    write_file_atomically(folder / "a.txt", "new", Overwrite::yes);
    EXPECT_EQ(test::read_file(folder / "a.txt"), "new");
    EXPECT_EQ(num_entries(folder.path()), 1u);
}

TEST(atomic_file, a_target_that_appears_meanwhile_is_kept) {
    const TemporaryFolder folder;
    AtomicOutput output(folder / "a.txt");
    { write_all(create_file(output.path()).get(), "mine", 4, output.path()); }
    test::write_file(folder / "a.txt", "theirs");
    EXPECT_THROW(output.publish(), WriteError);
    EXPECT_EQ(test::read_file(folder / "a.txt"), "theirs");
}

TEST(atomic_file, an_abandoned_output_leaves_nothing) {
    const TemporaryFolder folder;
    {
        AtomicOutput file(folder / "a.txt"), tree(folder / "tree");
        create_file(file.path());
        create_folder(tree.path(), 0700);
        create_file(tree.path() + "/inner", 0600);
        EXPECT_EQ(num_entries(folder.path()), 2u);
        for (const auto& entry : fs::directory_iterator(folder.path()))
            EXPECT_TRUE(is_temporary_name(entry.path().filename().string())) << entry.path();
    }
    EXPECT_EQ(num_entries(folder.path()), 0u);
}

TEST(atomic_file, replaces_a_folder_only_when_told) {
    const TemporaryFolder folder;
    const auto publish_with = [&](const std::string& name, Overwrite overwrite) {
        AtomicOutput output(folder / "tree/", overwrite);
        create_folder(output.path(), 0700);
        create_file(output.path() + "/" + name, 0600);
        output.publish();
    };
    publish_with("first", Overwrite::no);
    EXPECT_TRUE(fs::exists(folder / "tree/first"));
    EXPECT_THROW(publish_with("second", Overwrite::no), WriteError);
    EXPECT_TRUE(fs::exists(folder / "tree/first"));
    publish_with("second", Overwrite::yes);
    EXPECT_TRUE(fs::exists(folder / "tree/second"));
    EXPECT_FALSE(fs::exists(folder / "tree/first"));
    EXPECT_EQ(num_entries(folder.path()), 1u);
}

TEST(atomic_file, explicit_modes_ignore_the_umask) {
    const TemporaryFolder folder;
    for (const mode_t mask : {0000, 0077, 0777}) {
        const mode_t before = ::umask(mask);
        const std::string tree = folder / std::to_string(mask);
        create_folder(tree, 0700);
        { create_file(tree + "/file", 0600); }
        ::umask(before);
        EXPECT_EQ(mode_of(tree), 0700u);
        EXPECT_EQ(mode_of(tree + "/file"), 0600u);
    }
}

TEST(atomic_file, recognizes_temporary_names) {
    EXPECT_TRUE(is_temporary_name("step-00000100.tmp-123-00ff00ff"));
    EXPECT_FALSE(is_temporary_name("step-00000100"));
    EXPECT_FALSE(is_temporary_name(".tmp-123-00ff00ff"));
    EXPECT_FALSE(is_temporary_name("a.tmp-123-xyz00000"));
    EXPECT_FALSE(is_temporary_name("a.tmp--00ff00ff"));
}

// A file size limit stands for a full disk: the write comes back short, then fails.
TEST(atomic_file, a_failed_write_is_an_error_and_leaves_nothing) {
    const TemporaryFolder folder;
    const std::string target = folder / "big";
    const pid_t child = ::fork();
    if (child == 0) {
        ::signal(SIGXFSZ, SIG_IGN);
        const rlimit limit{1000, 1000};
        ::setrlimit(RLIMIT_FSIZE, &limit);
        try {
            write_file_atomically(target, std::string(5000, 'x'));
        } catch (const WriteError& error) {
            const bool named = std::string(error.what()).find("File too large") != std::string::npos;
            ::_exit(named ? static_cast<int>(error.exit_code()) : 99);
        }
        ::_exit(98);
    }
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    EXPECT_EQ(WEXITSTATUS(status), 7);
    EXPECT_EQ(num_entries(folder.path()), 0u);
}

TEST(atomic_file, unwritable_places_are_write_errors) {
    const TemporaryFolder folder;
    EXPECT_THROW(write_file_atomically(folder / "missing/folder/file", "x"), WriteError);
    test::write_file(folder / "file", "x");
    EXPECT_THROW(create_folders(folder / "file"), WriteError);
    EXPECT_THROW(create_folders(folder / "file/below"), WriteError);
    EXPECT_THROW(create_folder(folder.path()), WriteError);
    create_folders(folder / "a/b/c");
    create_folders(folder / "a/b/c");
    EXPECT_TRUE(fs::is_directory(folder / "a/b/c"));
}

TEST(atomic_file, read_whole_file_checks_kind_and_size) {
    const TemporaryFolder folder;
    test::write_file(folder / "file", "0123456789");
    fs::create_symlink("file", folder / "link");
    ASSERT_EQ(::mkfifo((folder / "fifo").c_str(), 0600), 0);
    EXPECT_EQ(read_whole_file(folder / "file", 10, ExitCode::data), "0123456789");
    EXPECT_EQ(read_whole_file(folder / "link", 10, ExitCode::data), "0123456789");
    EXPECT_THROW(read_whole_file(folder / "file", 9, ExitCode::data), Error);
    EXPECT_THROW(read_whole_file(folder / "link", 10, ExitCode::data, Symlinks::refuse), Error);
    EXPECT_THROW(read_whole_file(folder / "fifo", 10, ExitCode::data), Error);
    EXPECT_THROW(read_whole_file(folder.path(), 10, ExitCode::data), Error);
    try {
        read_whole_file(folder / "missing", 10, ExitCode::checkpoint);
        FAIL() << "a missing file was read";
    } catch (const Error& error) {
        EXPECT_EQ(error.exit_code(), ExitCode::checkpoint);
        EXPECT_THAT(error.what(), ::testing::HasSubstr("missing"));
    }
}

TEST(atomic_file, reading_past_the_end_is_an_error) {
    const TemporaryFolder folder;
    test::write_file(folder / "file", "0123456789");
    const FileDescriptor file = open_regular_file(folder / "file", ExitCode::data, Symlinks::refuse);
    char buffer[8];
    read_all_at(file.get(), buffer, 8, 2, "file", ExitCode::data);
    EXPECT_EQ(std::string(buffer, 8), "23456789");
    EXPECT_THROW(read_all_at(file.get(), buffer, 8, 3, "file", ExitCode::data), Error);
}

TEST(folder_lock, the_second_holder_is_told_who_holds_it) {
    const TemporaryFolder folder;
    {
        const FolderLock lock(folder.path());
        try {
            const FolderLock second(folder.path());
            FAIL() << "locked twice";
        } catch (const WriteError& error) {
            EXPECT_THAT(error.what(),
                        ::testing::HasSubstr("in use by pid " + std::to_string(::getpid()) + " on host "));
        }
    }
    const FolderLock again(folder.path());
}

TEST(folder_lock, notices_that_its_folder_is_gone) {
    const TemporaryFolder outside;
    const std::string path = outside / "run";
    const auto fault = [](const FolderLock& lock) -> std::string {
        try {
            lock.expect_in_place();
            return "";
        } catch (const WriteError& error) {
            return error.what();
        }
    };
    fs::create_directory(path);
    const FolderLock lock(path);
    EXPECT_EQ(fault(lock), "");
    EXPECT_TRUE(lock.excludes_others());
    fs::rename(path, outside / "moved");
    EXPECT_EQ(fault(lock), path +
                               ": expected the folder that this process locked, found none: it was renamed, "
                               "moved or removed meanwhile; nothing more is written");
    fs::create_directory(path);
    EXPECT_THAT(fault(lock), ::testing::HasSubstr("found another one without the lock"));
    {
        const FolderLock other(path);
        EXPECT_THAT(fault(lock), ::testing::HasSubstr("found another one:"));
        EXPECT_TRUE(other.is_in_place());
    }
    fs::remove_all(path);
    fs::rename(outside / "moved", path);
    EXPECT_EQ(fault(lock), "");
    fs::remove_all(path);
    EXPECT_FALSE(lock.is_in_place());
}

TEST(folder_lock, ends_with_a_killed_process) {
    const TemporaryFolder folder;
    int ready[2];
    ASSERT_EQ(::pipe(ready), 0);
    const pid_t child = ::fork();
    if (child == 0) {
        const FolderLock lock(folder.path());
        if (::write(ready[1], "x", 1) != 1) ::_exit(1);
        ::pause();
        ::_exit(0);
    }
    char byte;
    ASSERT_EQ(::read(ready[0], &byte, 1), 1);
    EXPECT_THROW(FolderLock(folder.path()), WriteError);
    ::kill(child, SIGKILL);
    ::waitpid(child, nullptr, 0);
    const FolderLock lock(folder.path());
    ::close(ready[0]);
    ::close(ready[1]);
}

} // namespace
} // namespace braid

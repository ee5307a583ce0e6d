#include "base/file_services.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cerrno>

#include "base/atomic_file.h"

namespace braid {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

TEST(file_services, a_service_that_is_missing_is_told_from_one_that_fails) {
    for (const FileService service : {FileService::permissions, FileService::locks, FileService::sync}) {
        for (const int error : {EPERM, ENOTSUP, EOPNOTSUPP, ENOSYS, EINVAL})
            EXPECT_TRUE(is_missing(service, error)) << error;
        for (const int error : {EIO, ENOSPC, EDQUOT, EACCES, EROFS, EWOULDBLOCK, EBADF, EINTR, ESTALE})
            EXPECT_FALSE(is_missing(service, error)) << error;
    }
    EXPECT_TRUE(is_missing(FileService::locks, ENOLCK)); // NFS without its lock service
    EXPECT_FALSE(is_missing(FileService::sync, ENOLCK));
}

TEST(file_services, each_is_told_once) {
    take_file_service_hints();
    EXPECT_FALSE(tolerate_missing(FileService::permissions, "a", EIO));
    EXPECT_THAT(take_file_service_hints(), IsEmpty());
    EXPECT_TRUE(tolerate_missing(FileService::permissions, "runs/a", EPERM));
    EXPECT_TRUE(tolerate_missing(FileService::permissions, "runs/b", EPERM));
    EXPECT_TRUE(tolerate_missing(FileService::locks, "runs/a", ENOSYS));
    EXPECT_THAT(
        take_file_service_hints(),
        ElementsAre(HasSubstr("runs/a: its file system keeps no permissions (chmod: Operation not"),
                    HasSubstr("runs/a: its file system has no locks (flock: Function not implemented)")));
    EXPECT_TRUE(tolerate_missing(FileService::permissions, "runs/a", EPERM));
    EXPECT_THAT(take_file_service_hints(), IsEmpty());
}

// A pipe cannot be synced, as the files of some file systems.
TEST(file_services, what_cannot_be_synced_is_no_error) {
    take_file_service_hints();
    int ends[2];
    ASSERT_EQ(::pipe(ends), 0);
    sync_file(ends[1], "runs/pipe");
    EXPECT_THAT(take_file_service_hints(),
                ElementsAre(HasSubstr("runs/pipe: its file system does not sync (fsync: Invalid argument)")));
    ::close(ends[0]);
    ::close(ends[1]);
    EXPECT_THROW(sync_file(ends[1], "runs/pipe"), WriteError);
}

} // namespace
} // namespace braid

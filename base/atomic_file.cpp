#include "base/atomic_file.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <random>
#include <system_error>

#include "base/file_services.h"

namespace braid {

namespace fs = std::filesystem;

namespace {

constexpr std::string_view kTemporaryMark = ".tmp-";

[[noreturn]] void fail_write(const std::string& path, std::string_view what, int error) {
    throw WriteError("{}: {}: {}", path, what, std::strerror(error));
}

std::string parent_of(const std::string& path) {
    const fs::path parent = fs::path(path).parent_path();
    return parent.empty() ? "." : parent.string();
}

bool exists(const std::string& path) {
    struct stat status;
    return ::lstat(path.c_str(), &status) == 0;
}

// Renames without ever replacing a target that exists.
void rename_exclusively(const std::string& from, const std::string& to) {
    if (::renameat2(AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(), RENAME_NOREPLACE) == 0) return;
    if (errno == EEXIST) throw WriteError("{}: exists already", to);
    if (errno != EINVAL && errno != ENOSYS && errno != ENOTSUP)
        fail_write(to, "cannot rename into place", errno);
    // Some network file systems lack the flag; looking first leaves only a narrow race between two writers.
    if (exists(to)) throw WriteError("{}: exists already", to);
    if (::rename(from.c_str(), to.c_str()) != 0) fail_write(to, "cannot rename into place", errno);
}

// Puts the folder `from` in the place of the folder `to`, whose content is at `from` afterwards.
void exchange_folders(const std::string& from, const std::string& to) {
    if (::renameat2(AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(), RENAME_EXCHANGE) == 0) return;
    if (errno != EINVAL && errno != ENOSYS && errno != ENOTSUP)
        fail_write(to, "cannot rename into place", errno);
    // Some network file systems cannot exchange; there the name is free for a moment.
    const std::string aside = temporary_name(to);
    if (::rename(to.c_str(), aside.c_str()) != 0) fail_write(to, "cannot rename", errno);
    if (::rename(from.c_str(), to.c_str()) != 0) fail_write(to, "cannot rename into place", errno);
    if (::rename(aside.c_str(), from.c_str()) != 0) fail_write(aside, "cannot rename", errno);
}

} // namespace

AtomicOutput::AtomicOutput(std::string target, Overwrite overwrite)
    : target_(std::move(target)), overwrite_(overwrite) {
    while (target_.size() > 1 && target_.back() == '/') target_.pop_back();
    if (target_.empty()) throw WriteError("an output needs a name");
    if (overwrite_ == Overwrite::no && exists(target_)) throw WriteError("{}: exists already", target_);
    path_ = temporary_name(target_);
}

AtomicOutput::~AtomicOutput() {
    if (published_) return;
    std::error_code ignored; // removing is best effort: the error that brought us here matters more
    fs::remove_all(path_, ignored);
}

void AtomicOutput::publish() {
    {
        FileDescriptor made(::open(path_.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
        if (!made) fail_write(path_, "cannot open", errno);
        sync_file(made.get(), path_);
    }
    bool replaced_folder = false;
    if (overwrite_ == Overwrite::no) {
        rename_exclusively(path_, target_);
    } else if (::rename(path_.c_str(), target_.c_str()) != 0) {
        // ENOTDIR: a link in the folder's place.
        if (errno != ENOTEMPTY && errno != EEXIST && errno != ENOTDIR)
            fail_write(target_, "cannot rename into place", errno);
        exchange_folders(path_, target_);
        replaced_folder = true;
    }
    published_ = true;
    sync_folder(parent_of(target_));
    if (!replaced_folder) return;
    std::error_code error;
    fs::remove_all(path_, error);
    if (error) fail_write(path_, "cannot remove", error.value());
}

std::string temporary_name(const std::string& target) {
    return fmt::format("{}{}{}-{:08x}", target, kTemporaryMark, ::getpid(), std::random_device()());
}

bool is_temporary_name(std::string_view name) {
    const size_t mark = name.rfind(kTemporaryMark);
    if (mark == std::string_view::npos || mark == 0) return false;
    const std::string_view tail = name.substr(mark + kTemporaryMark.size());
    const size_t dash = tail.find('-');
    return dash != std::string_view::npos && dash > 0 && tail.size() - dash - 1 == 8 &&
           tail.substr(0, dash).find_first_not_of("0123456789") == std::string_view::npos &&
           tail.substr(dash + 1).find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

void write_file_atomically(const std::string& path, std::string_view content, Overwrite overwrite,
                           mode_t mode) {
    AtomicOutput output(path, overwrite);
    {
        const FileDescriptor file = create_file(output.path(), mode);
        write_all(file.get(), content.data(), content.size(), output.path());
    }
    output.publish();
}

FileDescriptor create_file(const std::string& path, mode_t mode) {
    FileDescriptor file(
        ::open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode ? mode : 0666));
    if (!file) fail_write(path, "cannot create", errno);
    if (mode && ::fchmod(file.get(), mode) != 0 && !tolerate_missing(FileService::permissions, path, errno))
        fail_write(path, "cannot set permissions", errno);
    return file;
}

void create_folder(const std::string& path, mode_t mode) {
    if (::mkdir(path.c_str(), mode ? mode : 0777) != 0) fail_write(path, "cannot create folder", errno);
    if (mode && ::chmod(path.c_str(), mode) != 0 && !tolerate_missing(FileService::permissions, path, errno))
        fail_write(path, "cannot set permissions", errno);
}

void create_folders(const std::string& path) {
    std::error_code error;
    fs::create_directories(path, error);
    if (error) fail_write(path, "cannot create folder", error.value());
    if (!fs::is_directory(path, error)) fail_write(path, "cannot create folder", ENOTDIR);
}

void write_all(int fd, const void* data, size_t num_bytes, const std::string& path) {
    const char* next = static_cast<const char*>(data);
    while (num_bytes > 0) {
        const ssize_t count = ::write(fd, next, num_bytes);
        if (count < 0 && errno == EINTR) continue;
        if (count <= 0) fail_write(path, "cannot write", count < 0 ? errno : EIO);
        next += count;
        num_bytes -= static_cast<size_t>(count);
    }
}

void write_all_at(int fd, const void* data, size_t num_bytes, int64_t offset, const std::string& path) {
    const char* next = static_cast<const char*>(data);
    while (num_bytes > 0) {
        const ssize_t count = ::pwrite(fd, next, num_bytes, offset);
        if (count < 0 && errno == EINTR) continue;
        if (count <= 0) fail_write(path, "cannot write", count < 0 ? errno : EIO);
        next += count;
        offset += count;
        num_bytes -= static_cast<size_t>(count);
    }
}

void read_all_at(int fd, void* data, size_t num_bytes, int64_t offset, const std::string& path,
                 ExitCode code) {
    char* next = static_cast<char*>(data);
    while (num_bytes > 0) {
        const ssize_t count = ::pread(fd, next, num_bytes, offset);
        if (count < 0 && errno == EINTR) continue;
        if (count < 0) throw_error(code, fmt::format("{}: cannot read: {}", path, std::strerror(errno)));
        if (count == 0)
            throw_error(code, fmt::format("{}: the file ends at byte {}, expected {} bytes more", path,
                                          offset, num_bytes));
        next += count;
        offset += count;
        num_bytes -= static_cast<size_t>(count);
    }
}

void sync_file(int fd, const std::string& path) {
    if (::fsync(fd) != 0 && !tolerate_missing(FileService::sync, path, errno))
        fail_write(path, "cannot sync to disk", errno);
}

void sync_folder(const std::string& path) {
    FileDescriptor folder(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!folder) fail_write(path, "cannot open folder", errno);
    // Some FUSE and network file systems sync files but have no notion of syncing a folder.
    if (::fsync(folder.get()) != 0 && !is_missing(FileService::sync, errno))
        fail_write(path, "cannot sync to disk", errno);
}

FileDescriptor open_regular_file(const std::string& path, ExitCode code, Symlinks symlinks,
                                 int64_t* num_bytes) {
    const int follow = symlinks == Symlinks::refuse ? O_NOFOLLOW : 0;
    // O_NONBLOCK: a FIFO in the file's place must not hang the open.
    FileDescriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | follow));
    if (!file) {
        const bool is_link = errno == ELOOP && follow;
        throw_error(code, fmt::format("{}: cannot open: {}", path,
                                      is_link ? "expected a regular file, found a symbolic link"
                                              : std::strerror(errno)));
    }
    struct stat status;
    if (::fstat(file.get(), &status) != 0)
        throw_error(code, fmt::format("{}: cannot read its status: {}", path, std::strerror(errno)));
    if (!S_ISREG(status.st_mode))
        throw_error(code, fmt::format("{}: expected a regular file, found {}", path,
                                      S_ISDIR(status.st_mode) ? "a folder" : "a device, pipe or socket"));
    if (num_bytes) *num_bytes = status.st_size;
    return file;
}

std::string read_whole_file(const std::string& path, int64_t max_bytes, ExitCode code, Symlinks symlinks) {
    int64_t num_bytes = 0;
    const FileDescriptor file = open_regular_file(path, code, symlinks, &num_bytes);
    if (num_bytes > max_bytes)
        throw_error(code, fmt::format("{}: expected at most {} bytes, found {}", path, max_bytes, num_bytes));
    std::string content(static_cast<size_t>(num_bytes), '\0');
    read_all_at(file.get(), content.data(), content.size(), 0, path, code);
    return content;
}

FolderLock::FolderLock(const std::string& folder) : folder_(folder) {
    const std::string path = folder + "/.lock";
    file_ =
        FileDescriptor(::open(path.c_str(), O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK, 0666));
    if (!file_) fail_write(path, "cannot open the lock file", errno);
    excludes_ = ::flock(file_.get(), LOCK_EX | LOCK_NB) == 0;
    if (!excludes_ && !tolerate_missing(FileService::locks, folder, errno)) {
        if (errno != EWOULDBLOCK) fail_write(path, "cannot lock", errno);
        char holder[512] = {};
        const ssize_t count = ::pread(file_.get(), holder, sizeof holder - 1, 0);
        // The holder writes its name after it has the lock, so the file may still be empty.
        throw WriteError("{}: in use by {}", folder, count > 0 ? holder : "another process");
    }
    char host[HOST_NAME_MAX + 1] = {};
    if (::gethostname(host, sizeof host - 1) != 0) std::snprintf(host, sizeof host, "unknown");
    const std::string holder = fmt::format("pid {} on host {}", ::getpid(), host);
    if (::ftruncate(file_.get(), 0) != 0) fail_write(path, "cannot write", errno);
    write_all_at(file_.get(), holder.data(), holder.size(), 0, path);
}

std::string FolderLock::fault() const {
    struct stat held, found;
    if (::fstat(file_.get(), &held) != 0)
        return fmt::format("its lock file is lost: {}", std::strerror(errno));
    if (::lstat((folder_ + "/.lock").c_str(), &found) != 0) {
        if (errno != ENOENT && errno != ENOTDIR)
            return fmt::format("cannot look at its lock file: {}", std::strerror(errno));
        return exists(folder_) ? "found another one without the lock" : "found none";
    }
    return held.st_dev == found.st_dev && held.st_ino == found.st_ino ? "" : "found another one";
}

void FolderLock::expect_in_place() const {
    const std::string found = fault();
    if (!found.empty())
        throw WriteError(
            "{}: expected the folder that this process locked, {}: it was renamed, moved or removed "
            "meanwhile; "
            "nothing more is written",
            folder_, found);
}

} // namespace braid

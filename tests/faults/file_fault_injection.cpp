#include "tests/faults/file_fault_injection.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <mutex>

namespace braid::test {
namespace {

std::atomic<FileFault> fault{FileFault::none};
std::atomic<bool> counting{false}, recording{false};
std::atomic<int64_t> num_calls{0}, fault_at{0};
std::mutex record_mutex;
std::vector<FileCall> record;

enum class Needs { space, nothing };
enum class Verdict { proceed, fail, tear, shorten };

// Counts a call and says what becomes of it.
Verdict judge(Needs needs) {
    if (!counting) return Verdict::proceed;
    const int64_t call = ++num_calls;
    switch (fault.load()) {
        case FileFault::none:
            return Verdict::proceed;
        case FileFault::fail_once:
            return call == fault_at ? Verdict::fail : Verdict::proceed;
        case FileFault::fail_onward:
            return call >= fault_at && needs == Needs::space ? Verdict::fail : Verdict::proceed;
        case FileFault::kill:
            return call == fault_at ? Verdict::tear : Verdict::proceed;
        case FileFault::short_write:
            return call >= fault_at ? Verdict::shorten : Verdict::proceed;
    }
    return Verdict::proceed;
}

[[noreturn]] void die() {
    ::raise(SIGKILL);
    std::abort();
}

void note(const char* name, int fd, const char* path = "", const char* to_path = "") {
    if (!recording) return;
    struct stat status {};
    if (fd >= 0)
        (void)::fstat(fd, &status);
    else
        (void)::lstat(path, &status);
    const std::lock_guard lock(record_mutex);
    record.push_back({name, status.st_ino, path, to_path});
}

template <typename Function>
Function real(Function, const char* name) {
    return reinterpret_cast<Function>(::dlsym(RTLD_NEXT, name));
}

// A call that either happens whole or not at all.
template <typename Call>
int simple(Needs needs, Call call) {
    switch (judge(needs)) {
        case Verdict::fail:
            errno = ENOSPC;
            return -1;
        case Verdict::tear:
            die();
        default:
            return call();
    }
}

// A write, of which a part may happen.
template <typename Call>
ssize_t transfer(size_t count, Call call) {
    const size_t half = count > 1 ? count / 2 : count;
    switch (judge(Needs::space)) {
        case Verdict::fail:
            errno = ENOSPC;
            return -1;
        case Verdict::tear:
            call(half);
            die();
        case Verdict::shorten:
            return call(half);
        default:
            return call(count);
    }
}

mode_t mode_argument(int flags, va_list arguments) {
    return flags & O_CREAT ? va_arg(arguments, mode_t) : 0;
}

} // namespace

void inject_file_fault(FileFault kind, int64_t at) {
    num_calls = 0;
    fault_at = at;
    fault = kind;
    counting = true;
}

int64_t end_file_faults() {
    counting = false;
    return num_calls;
}

void start_recording() {
    const std::lock_guard lock(record_mutex);
    record.clear();
    recording = true;
}

std::vector<FileCall> end_recording() {
    const std::lock_guard lock(record_mutex);
    recording = false;
    return record;
}

} // namespace braid::test

using namespace braid::test;

// The C library's own declarations say which of these do not throw, so their exact form follows them.
extern "C" {

ssize_t write(int fd, const void* data, size_t count) {
    static const auto next = real(&::write, "write");
    note("write", fd);
    return transfer(count, [&](size_t part) { return next(fd, data, part); });
}

ssize_t pwrite(int fd, const void* data, size_t count, off_t offset) {
    static const auto next = real(&::pwrite, "pwrite");
    note("write", fd);
    return transfer(count, [&](size_t part) { return next(fd, data, part, offset); });
}

int open(const char* path, int flags, ...) {
    static const auto next = real(&::open, "open");
    va_list arguments;
    va_start(arguments, flags);
    const mode_t mode = mode_argument(flags, arguments);
    va_end(arguments);
    if (!(flags & O_CREAT)) return next(path, flags);
    const int fd = simple(Needs::space, [&] { return next(path, flags, mode); });
    if (fd >= 0) note("create", fd, path);
    return fd;
}

int ftruncate(int fd, off_t length) noexcept {
    static const auto next = real(&::ftruncate, "ftruncate");
    note("write", fd);
    return simple(Needs::space, [&] { return next(fd, length); });
}

int fsync(int fd) {
    static const auto next = real(&::fsync, "fsync");
    const int result = simple(Needs::space, [&] { return next(fd); });
    if (result == 0) note("sync", fd);
    return result;
}

int fdatasync(int fd) {
    static const auto next = real(&::fdatasync, "fdatasync");
    const int result = simple(Needs::space, [&] { return next(fd); });
    if (result == 0) note("sync", fd);
    return result;
}

// A close that fails has closed nevertheless, as on Linux.
int close(int fd) {
    static const auto next = real(&::close, "close");
    const Verdict verdict = judge(Needs::space);
    if (verdict == Verdict::tear) die();
    const int result = next(fd);
    if (verdict != Verdict::fail) return result;
    errno = ENOSPC;
    return -1;
}

int rename(const char* from, const char* to) noexcept {
    static const auto next = real(&::rename, "rename");
    note("rename", -1, from, to);
    return simple(Needs::nothing, [&] { return next(from, to); });
}

int renameat2(int from_folder, const char* from, int to_folder, const char* to, unsigned flags) noexcept {
    static const auto next = real(&::renameat2, "renameat2");
    note("rename", -1, from, to);
    return simple(Needs::nothing, [&] { return next(from_folder, from, to_folder, to, flags); });
}

int mkdir(const char* path, mode_t mode) noexcept {
    static const auto next = real(&::mkdir, "mkdir");
    return simple(Needs::space, [&] { return next(path, mode); });
}

int chmod(const char* path, mode_t mode) noexcept {
    static const auto next = real(&::chmod, "chmod");
    return simple(Needs::nothing, [&] { return next(path, mode); });
}

int fchmod(int fd, mode_t mode) noexcept {
    static const auto next = real(&::fchmod, "fchmod");
    return simple(Needs::nothing, [&] { return next(fd, mode); });
}

int unlink(const char* path) noexcept {
    static const auto next = real(&::unlink, "unlink");
    return simple(Needs::nothing, [&] { return next(path); });
}

int unlinkat(int folder, const char* path, int flags) noexcept {
    static const auto next = real(&::unlinkat, "unlinkat");
    return simple(Needs::nothing, [&] { return next(folder, path, flags); });
}

int rmdir(const char* path) noexcept {
    static const auto next = real(&::rmdir, "rmdir");
    return simple(Needs::nothing, [&] { return next(path); });
}

int remove(const char* path) noexcept {
    static const auto next = real(&::remove, "remove");
    return simple(Needs::nothing, [&] { return next(path); });
}

} // extern "C"

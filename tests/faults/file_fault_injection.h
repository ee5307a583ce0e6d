#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace braid::test {

/// What happens to the calls of this process that change files. The program that links this has its own open
/// (for creating), write, pwrite, ftruncate, fsync, fdatasync, close, rename, renameat2, mkdir, chmod,
/// fchmod, unlink, unlinkat, rmdir and remove, which all libraries of the process use too; each counts as one
/// call.
enum class FileFault {
    none,
    fail_once,   // call number `at` fails with ENOSPC, those after it work
    fail_onward, // from call `at` on all that needs space fails; removing and renaming still work
    kill,        // the process is killed before call `at`; a write is torn: half of its bytes arrive first
    short_write, // from call `at` on each write writes just half of its bytes, at least one, and says so
};

/// Counting starts at 1 with this call.
void inject_file_fault(FileFault fault, int64_t at);
/// Ends the injection; returns the number of calls since it began.
int64_t end_file_faults();

/// A call that was made, for checks of their order.
struct FileCall {
    std::string name;
    uint64_t inode = 0;        // of the file, where the call is about an open one or a folder
    std::string path, to_path; // where the call has them
};

/// Records all calls until end_recording().
void start_recording();
std::vector<FileCall> end_recording();

} // namespace braid::test

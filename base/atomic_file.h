#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <string_view>

#include "base/error.h"
#include "base/file_descriptor.h"

namespace braid {

/// Whether publishing may replace what exists under the name: a file by a file, a folder by a folder.
enum class Overwrite { no, yes };

/// A file or folder that appears under its name whole or not at all: it is made under path(), a fresh name
/// beside the target, and publish() syncs it, renames it to the target and syncs the parent folder. Without
/// publish(), the destructor removes what was made. A target that exists (and Overwrite::no) is a WriteError,
/// found early by the constructor and for certain by publish().
class AtomicOutput {
  public:
    explicit AtomicOutput(std::string target, Overwrite overwrite = Overwrite::no);
    AtomicOutput(const AtomicOutput&) = delete;
    AtomicOutput& operator=(const AtomicOutput&) = delete;
    ~AtomicOutput();

    const std::string& target() const { return target_; }
    /// The temporary name, `TARGET.tmp-PID-RANDOM`; nothing exists there yet.
    const std::string& path() const { return path_; }
    /// Syncs and renames. The files inside a folder must have been synced by their writers. A folder that is
    /// replaced changes places with the new one in one step where the file system can do that, and is removed
    /// afterwards under the temporary name.
    void publish();
    /// True once the target is the new one, also where publish() threw after that.
    bool is_published() const { return published_; }

  private:
    std::string target_, path_;
    Overwrite overwrite_;
    bool published_ = false;
};

/// A fresh name beside `target`, on which is_temporary_name is true.
std::string temporary_name(const std::string& target);
/// True for names AtomicOutput makes: what a killed process may have left behind.
bool is_temporary_name(std::string_view name);

/// Writes `content` to `path` through an AtomicOutput. `mode` 0 leaves the permissions to the umask; another
/// value is set whatever the umask says.
void write_file_atomically(const std::string& path, std::string_view content,
                           Overwrite overwrite = Overwrite::no, mode_t mode = 0);

/// Creates a file that must not exist and opens it for writing; `mode` as above. WriteError if it exists.
FileDescriptor create_file(const std::string& path, mode_t mode = 0);
/// Creates one folder that must not exist; `mode` as above.
void create_folder(const std::string& path, mode_t mode = 0);
/// Creates a folder and its missing parents; one that exists is fine.
void create_folders(const std::string& path);

/// Write everything or throw WriteError naming `path`, to which `fd` belongs. write_all_at starts at byte
/// `offset`.
void write_all(int fd, const void* data, size_t num_bytes, const std::string& path);
void write_all_at(int fd, const void* data, size_t num_bytes, int64_t offset, const std::string& path);
/// Reads exactly `num_bytes` at `offset`; a short file or a failure is an Error with `code` naming `path`.
void read_all_at(int fd, void* data, size_t num_bytes, int64_t offset, const std::string& path,
                 ExitCode code);

/// Makes the data of an open file, and the entries of a folder, survive a power loss, where the file system
/// can do that (base/file_services.h).
void sync_file(int fd, const std::string& path);
void sync_folder(const std::string& path);

enum class Symlinks { refuse, follow };

/// Opens a regular file for reading; anything else (folder, device, FIFO; symbolic link where refused) is an
/// Error with `code`. `num_bytes`, where given, receives its size.
FileDescriptor open_regular_file(const std::string& path, ExitCode code, Symlinks symlinks,
                                 int64_t* num_bytes = nullptr);

/// The content of a regular file of at most `max_bytes`; a larger one is refused before memory is taken.
std::string read_whole_file(const std::string& path, int64_t max_bytes, ExitCode code,
                            Symlinks symlinks = Symlinks::follow);

/// Holds a folder for this process through flock on `FOLDER/.lock`, until destroyed or the process ends,
/// however it ends. A folder somebody holds is a WriteError that names the holder's process id and host.
class FolderLock {
  public:
    explicit FolderLock(const std::string& folder);

    /// False where the file system has no locks, so that other processes may be at work in the folder.
    bool excludes_others() const { return excludes_; }
    /// Whether the folder's name still leads to what was locked. One that was renamed or removed since would
    /// split what is written: files that are open go on in the old folder, others start in a new one.
    bool is_in_place() const { return fault().empty(); }
    /// WriteError unless it does.
    void expect_in_place() const;

  private:
    std::string fault() const;

    std::string folder_;
    FileDescriptor file_;
    bool excludes_ = false;
};

} // namespace braid

#include "trainer/run/superseded.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <system_error>

#include "base/atomic_file.h"
#include "trainer/checkpoint/checkpoint_folder.h"
#include "trainer/checkpoint/checkpoint_writer.h"
#include "trainer/metrics/metrics_lines.h"
#include "trainer/metrics/tensorboard.h"

namespace braid {

namespace fs = std::filesystem;

namespace {

/// A new folder RUN/superseded/NNNN-after-step-S, which goes again if nothing comes into it.
class Destination {
  public:
    Destination(const std::string& run_folder, int64_t last_step)
        : parent_(run_folder + "/" + kSupersededFolder) {
        create_folders(parent_);
        // One above all that are there, so that names tell the order also where somebody removed some.
        int64_t number = 1;
        std::error_code error;
        fs::directory_iterator entry(parent_, error), end;
        for (; !error && entry != end; entry.increment(error))
            number = std::max<int64_t>(number, std::atoll(entry->path().filename().c_str()) + 1);
        if (error) throw WriteError("{}: cannot list the folder: {}", parent_, error.message());
        name_ = fmt::format("{:04}-after-step-{}", number, std::max<int64_t>(last_step, 0));
        create_folder(path());
    }
    Destination(const Destination&) = delete;
    Destination& operator=(const Destination&) = delete;
    ~Destination() {
        if (::rmdir(path().c_str()) == 0) ::rmdir(parent_.c_str()); // each only if empty
    }

    const std::string& name() const { return name_; }
    std::string path() const { return parent_ + "/" + name_; }
    /// After the last move: what came here survives a power loss.
    void sync() const {
        sync_folder(path());
        sync_folder(parent_);
    }

  private:
    std::string parent_, name_;
};

/// Moves a file or folder. A relative link leads to the same place afterwards.
bool move(const std::string& from, const std::string& to) {
    std::error_code error;
    if (fs::is_symlink(fs::symlink_status(from, error))) {
        const fs::path target = fs::read_symlink(from, error);
        if (!error && target.is_relative()) {
            const fs::path folder = fs::canonical(fs::path(from).parent_path(), error);
            if (!error) fs::create_symlink((folder / target).lexically_normal(), to, error);
            if (!error) fs::remove(from, error);
            if (error) throw WriteError("{}: cannot move to {}: {}", from, to, error.message());
            return true;
        }
    }
    if (::rename(from.c_str(), to.c_str()) == 0) return true;
    if (errno == EXDEV) return false;
    throw WriteError("{}: cannot move to {}: {}", from, to, std::strerror(errno));
}

/// The folder that takes the checkpoints. Where RUN/checkpoints is a link to another file system it lies
/// there, beside them, and the destination gets a link to it.
std::string folder_for_checkpoints(const std::string& from, const Destination& destination) {
    const std::string here = destination.path() + "/" + kCheckpointsFolder;
    struct stat a, b;
    if (::stat(from.c_str(), &a) == 0 && ::stat(destination.path().c_str(), &b) == 0 &&
        a.st_dev == b.st_dev) {
        create_folder(here, kCheckpointFolderMode);
        return here;
    }
    std::error_code error;
    const std::string folder = fs::canonical(from, error).string();
    if (error) throw WriteError("{}: cannot resolve: {}", from, error.message());
    const std::string there = fmt::format("{}/{}-{}", folder, kSupersededFolder, destination.name());
    create_folder(there, kCheckpointFolderMode);
    fs::create_symlink(there, here, error);
    if (error) throw WriteError("{}: cannot link to {}: {}", here, there, error.message());
    return there;
}

int64_t move_checkpoints(const std::string& from, int64_t last_step, const Destination& destination) {
    int64_t count = 0;
    std::string to;
    for (const CheckpointEntry& entry : list_checkpoints(from)) {
        if (entry.step <= last_step) break; // the newest come first
        if (to.empty()) to = folder_for_checkpoints(from, destination);
        const std::string target = to + "/" + fs::path(entry.path).filename().string();
        if (!move(entry.path, target))
            throw WriteError("{}: cannot move to {}, which lies on another file system", entry.path, target);
        ++count;
    }
    if (count > 0) {
        sync_folder(to);
        sync_folder(from);
    }
    return count;
}

} // namespace

std::string Superseded::describe() const {
    if (folder.empty()) return "";
    return fmt::format("moved what came after it to {}: {} checkpoints, {} lines of metrics", folder,
                       checkpoints, lines);
}

Superseded retire_later_steps(const std::string& run_folder, int64_t last_step) {
    Superseded result;
    const Destination destination(run_folder, last_step);
    result.checkpoints = move_checkpoints(run_folder + "/" + kCheckpointsFolder, last_step, destination);
    int64_t others = 0;
    for (const char* name : {"metrics.jsonl", "layers.jsonl", "samples.jsonl"}) {
        const CutBack cut = cut_back_lines(fmt::format("{}/{}", run_folder, name), last_step,
                                           fmt::format("{}/{}", destination.path(), name));
        (name == std::string_view("metrics.jsonl") ? result.lines : others) += cut.superseded;
        result.unreadable += cut.unreadable;
    }
    for (const std::string& path : event_files(run_folder))
        others +=
            cut_back_events(path, last_step, destination.path() + "/" + fs::path(path).filename().string());
    if (result.checkpoints + result.lines + others > 0) {
        destination.sync();
        result.folder = destination.path();
    }
    return result;
}

} // namespace braid

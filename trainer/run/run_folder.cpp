#include "trainer/run/run_folder.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <system_error>

#include "trainer/checkpoint/checkpoint_folder.h"
#include "trainer/checkpoint/checkpoint_writer.h"
#include "trainer/run/run_record.h"
#include "trainer/run/superseded.h"

namespace braid {
namespace {

constexpr int64_t kMaxConfigBytes = int64_t{1} << 24;

/// Which of a folder and its parents create_folders would make, the innermost last.
std::vector<std::string> missing_folders(const std::string& path) {
    std::vector<std::string> missing;
    std::error_code
        error; // what cannot be looked at is not missing; create_folders says what is wrong with it
    for (std::filesystem::path folder = path;
         !folder.empty() && !std::filesystem::exists(folder, error) && !error; folder = folder.parent_path())
        missing.push_back(folder.string());
    std::reverse(missing.begin(), missing.end());
    return missing;
}

/// Whether a temporary file of this name would be one of ours; checkpoints have their own.
bool is_temporary_run_file(std::string_view name) {
    if (!is_temporary_name(name)) return false;
    name = name.substr(0, name.rfind(".tmp-"));
    if (name.starts_with("config-") && name.ends_with(".yaml")) return true;
    for (const char* whole : {"config.yaml", "run.json", "metrics.jsonl", "layers.jsonl"})
        if (name == whole) return true;
    return name.starts_with("events.out.tfevents.") || name.starts_with("profile-rank-");
}

bool is_plain(const std::string& path, mode_t type) {
    struct stat status;
    return ::lstat(path.c_str(), &status) == 0 && (status.st_mode & S_IFMT) == type;
}

/// Anything by this name, a dangling link too.
bool exists(const std::string& path) {
    struct stat status;
    return ::lstat(path.c_str(), &status) == 0;
}

} // namespace

RunFolder::RunFolder(std::string path) : path_(std::move(path)) {
    while (path_.size() > 1 && path_.back() == '/') path_.pop_back();
    if (path_.empty()) throw ConfigError("run_dir: expected the name of a folder, found nothing");
    made_ = missing_folders(path_);
    create_folders(path_);
    lock_.emplace(path_);
    if (exists(path_ + "/config.yaml")) return;
    // log.txt only grows, and a start that is refused may leave nothing else.
    for (const char* name : {"run.json", "metrics.jsonl", "layers.jsonl", "checkpoints", kSupersededFolder})
        if (exists(path_ + "/" + name))
            throw ConfigError(
                "{}: holds {} but no config.yaml, so whose it is cannot be told; choose another "
                "name or run_dir",
                path_, name);
}

RunFolder::~RunFolder() {
    if (made_.empty() || exists(path_ + "/config.yaml") || !is_in_place()) return;
    for (const char* name : {"log.txt", ".lock"}) ::unlink((path_ + "/" + name).c_str());
    for (auto folder = made_.rbegin(); folder != made_.rend(); ++folder)
        if (::rmdir(folder->c_str()) != 0) break; // somebody uses it
}

std::optional<std::string> RunFolder::stored_config() const {
    return read_stored_config(path_);
}

void RunFolder::store_config(std::string_view yaml) {
    const std::optional<std::string> stored = stored_config();
    if (stored == yaml) return;
    if (stored) {
        int number = 1;
        while (exists(fmt::format("{}/config-{}.yaml", path_, number))) ++number;
        write_file_atomically(fmt::format("{}/config-{}.yaml", path_, number), *stored);
    }
    write_file_atomically(path_ + "/config.yaml", yaml, Overwrite::yes);
}

void RunFolder::prepare() {
    remove_temporary_files();
    std::error_code error;
    const std::string where = std::filesystem::is_directory(checkpoints(), error) ? checkpoints() : path_;
    // Under the temporary name of a checkpoint, so that the next start or save removes what a crash leaves.
    const AtomicOutput probe(where + "/" + checkpoint_name(0), Overwrite::yes);
    create_folder(probe.path(), kCheckpointFolderMode);
    const std::string path = probe.path() + "/probe";
    const FileDescriptor file = create_file(path, kCheckpointFileMode);
    write_all(file.get(), path.data(), path.size(), path);
    sync_file(file.get(), path);
    sync_folder(where);
}

void RunFolder::remove_temporary_files() {
    if (!lock_->excludes_others()) return; // somebody may be writing them
    std::error_code error;
    std::filesystem::directory_iterator entry(path_, error), end;
    for (; !error && entry != end; entry.increment(error)) {
        const std::string path = entry->path().string();
        const std::string name = entry->path().filename().string();
        if (!is_temporary_run_file(name) || !is_plain(path, S_IFREG)) continue;
        if (::unlink(path.c_str()) != 0)
            throw WriteError("{}: cannot remove: {}", path, std::strerror(errno));
    }
    if (error) throw WriteError("{}: cannot list the folder: {}", path_, error.message());
    // What lies behind a link, the next save removes.
    if (is_plain(checkpoints(), S_IFDIR)) remove_temporary_checkpoints(checkpoints());
}

void RunFolder::log(std::string_view message) {
    if (!log_) log_.emplace(path_ + "/log.txt");
    const std::string time = utc_time();
    while (!message.empty() && message.back() == '\n') message.remove_suffix(1);
    for (size_t begin = 0; begin <= message.size();) {
        const size_t end = std::min(message.find('\n', begin), message.size());
        log_->append(fmt::format("{} {}", time, message.substr(begin, end - begin)));
        begin = end + 1;
    }
}

std::optional<std::string> read_stored_config(const std::string& path) {
    const std::string file = path + "/config.yaml";
    if (!exists(file)) return std::nullopt;
    return read_whole_file(file, kMaxConfigBytes, ExitCode::usage, Symlinks::refuse);
}

} // namespace braid

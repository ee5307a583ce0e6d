#include "trainer/checkpoint/checkpoint_folder.h"

#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <filesystem>
#include <system_error>

#include "base/atomic_file.h"
#include "trainer/checkpoint/checkpoint_reader.h"
#include "trainer/checkpoint/checkpoint_writer.h"

namespace braid {

namespace fs = std::filesystem;

namespace {

constexpr std::string_view kStepPrefix = "step-";
constexpr size_t kStepDigits = 8; // at least

std::vector<std::string> entries(const std::string& folder) {
    std::vector<std::string> names;
    std::error_code error;
    fs::directory_iterator entry(folder, error);
    for (; !error && entry != fs::directory_iterator(); entry.increment(error))
        names.push_back(entry->path().filename().string());
    if (error && error != std::errc::no_such_file_or_directory)
        throw CheckpointError("{}: cannot list: {}", folder, error.message());
    return names;
}

bool is_folder(const std::string& path) {
    struct stat status;
    return ::stat(path.c_str(), &status) == 0 && S_ISDIR(status.st_mode);
}

// Removes what has a temporary name. Of a folder the manifest goes first: without one it can never be loaded.
// A link goes alone: what it leads to belongs to whoever put it there.
void remove_temporary(const std::string& path) {
    std::error_code error;
    if (!fs::is_directory(fs::symlink_status(path, error))) {
        fs::remove(path, error);
        if (error) throw WriteError("{}: cannot remove: {}", path, error.message());
        return;
    }
    fs::remove(fmt::format("{}/{}", path, Manifest::kFileName), error);
    if (!error) fs::remove_all(path, error);
    if (error) throw WriteError("{}: cannot remove: {}", path, error.message());
}

// Why a checkpoint cannot be loaded; empty where it can, as far as can be told without reading the tensors.
std::string reason_against(const CheckpointEntry& entry, bool read_tensors,
                           const CheckpointObjection& objection = {},
                           const std::function<void()>& tick = {}) {
    try {
        // A checkpoint moved to another disk may be linked back.
        if (!is_folder(entry.path)) return fmt::format("{}: expected a folder", entry.path);
        const CheckpointReader reader = CheckpointReader::open(entry.path);
        const int64_t step = reader.manifest().training.step;
        if (step != entry.step) return fmt::format("{}: it holds step {}", entry.path, step);
        if (objection) objection(reader.manifest(), entry.path);
        if (read_tensors) reader.verify(tick);
        return "";
    } catch (const CheckpointError& error) {
        return error.what();
    }
}

} // namespace

std::string checkpoint_name(int64_t step) {
    return fmt::format("{}{:0{}}", kStepPrefix, step, kStepDigits);
}

std::optional<int64_t> step_of_checkpoint(std::string_view name) {
    if (!name.starts_with(kStepPrefix)) return std::nullopt;
    name.remove_prefix(kStepPrefix.size());
    int64_t step = 0;
    const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), step);
    const bool parsed = error == std::errc() && end == name.data() + name.size() && step >= 0;
    // "step-5" is not how we write step 5; taking it would give one step two names.
    if (!parsed || checkpoint_name(step).substr(kStepPrefix.size()) != name) return std::nullopt;
    return step;
}

std::vector<CheckpointEntry> list_checkpoints(const std::string& folder) {
    std::vector<CheckpointEntry> found;
    for (const std::string& name : entries(folder)) {
        const auto step = step_of_checkpoint(name);
        if (step) found.push_back({*step, folder + "/" + name});
    }
    std::sort(found.begin(), found.end(),
              [](const CheckpointEntry& a, const CheckpointEntry& b) { return a.step > b.step; });
    return found;
}

LatestCheckpoint find_latest_checkpoint(const std::string& folder, const CheckpointObjection& objection,
                                        const std::function<void()>& tick) {
    LatestCheckpoint latest;
    for (const CheckpointEntry& entry : list_checkpoints(folder)) {
        const std::string reason = reason_against(entry, true, objection, tick);
        if (reason.empty()) {
            latest.path = entry.path;
            latest.step = entry.step;
            break;
        }
        latest.rejected.push_back({entry.path, reason});
    }
    return latest;
}

std::optional<LatestCheckpoint> find_resume_checkpoint(const std::string& folder,
                                                       const CheckpointObjection& objection,
                                                       const std::function<void()>& tick) {
    LatestCheckpoint latest = find_latest_checkpoint(folder, objection, tick);
    if (!latest.path.empty()) return latest;
    if (latest.rejected.empty()) return std::nullopt;
    std::string reasons;
    for (const auto& rejected : latest.rejected) reasons += "\n  " + rejected.reason;
    throw CheckpointError("{}: none of {} checkpoints can be resumed from:{}", folder, latest.rejected.size(),
                          reasons);
}

std::string checkpoints_folder(const std::string& path) {
    if (!is_folder(path))
        throw CheckpointError("{}: expected a checkpoint or a run folder, found none", path);
    const std::string inside = fmt::format("{}/{}", path, kCheckpointsFolder);
    return is_folder(inside) ? inside : path;
}

std::string resolve_checkpoint(const std::string& path) {
    const std::string folder = checkpoints_folder(path);
    struct stat status;
    if (::lstat(fmt::format("{}/{}", path, Manifest::kFileName).c_str(), &status) == 0) return path;
    const auto found = list_checkpoints(folder);
    if (found.empty())
        throw CheckpointError("{}: expected a checkpoint ({}) or a run folder that has some, found neither",
                              path, Manifest::kFileName);
    return found[0].path;
}

void create_checkpoints_folder(const std::string& folder) {
    if (is_folder(folder)) return;
    const fs::path parent = fs::path(folder).parent_path();
    if (!parent.empty()) create_folders(parent.string());
    create_folder(folder, kCheckpointFolderMode);
    sync_folder(parent.empty() ? "." : parent.string());
}

void remove_temporary_checkpoints(const std::string& folder) {
    for (const std::string& name : entries(folder))
        if (name.starts_with(kStepPrefix) && is_temporary_name(name)) remove_temporary(folder + "/" + name);
}

void prune_checkpoints(const std::string& folder, int64_t step, int64_t keep) {
    if (keep <= 0) return;
    int64_t kept = 0;
    for (const CheckpointEntry& entry : list_checkpoints(folder)) {
        if (entry.step > step) continue;
        if (kept == keep) {
            const std::string temporary = temporary_name(entry.path);
            if (::rename(entry.path.c_str(), temporary.c_str()) != 0)
                throw WriteError("{}: cannot remove: {}", entry.path, std::strerror(errno));
            remove_temporary(temporary);
        } else if (reason_against(entry, false).empty()) {
            ++kept;
        }
    }
}

} // namespace braid

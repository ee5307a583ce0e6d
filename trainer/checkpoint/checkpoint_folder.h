#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace braid {

struct Manifest;

/// A run keeps its checkpoints in RUN/checkpoints/step-NNNNNNNN.
constexpr const char* kCheckpointsFolder = "checkpoints";

/// "step-00000100"
std::string checkpoint_name(int64_t step);
/// The step in such a name; nothing for another name.
std::optional<int64_t> step_of_checkpoint(std::string_view name);

struct CheckpointEntry {
    int64_t step;
    std::string path;
};

/// The checkpoints in a folder, valid or not, newest first; none where the folder does not exist.
/// CheckpointError where it cannot be read.
std::vector<CheckpointEntry> list_checkpoints(const std::string& folder);

struct LatestCheckpoint {
    std::string path; // empty: none verifies
    int64_t step = 0;
    /// Newer ones that do not verify, each with the reason, newest first.
    struct Rejected {
        std::string path, reason;
    };
    std::vector<Rejected> rejected;
};

/// Throws CheckpointError for a checkpoint that is whole but not to be used, by what its manifest says.
using CheckpointObjection = std::function<void(const Manifest& manifest, const std::string& path)>;

/// The newest checkpoint that verifies from the first byte to the last and to which there is no objection.
/// `tick`, where given, is called often meanwhile.
LatestCheckpoint find_latest_checkpoint(const std::string& folder, const CheckpointObjection& objection = {},
                                        const std::function<void()>& tick = {});

/// What to resume from: that checkpoint; nothing where there is no checkpoint at all (a run that starts).
/// CheckpointError naming each reason where there are some and none can be used.
std::optional<LatestCheckpoint> find_resume_checkpoint(const std::string& folder,
                                                       const CheckpointObjection& objection = {},
                                                       const std::function<void()>& tick = {});

/// Where the checkpoints are of a path the user gave: RUN/checkpoints where that exists, else the path
/// itself. CheckpointError where it is no folder.
std::string checkpoints_folder(const std::string& path);

/// A path the user gave as a checkpoint: itself, or the newest one (valid or not) of a run folder or of a
/// folder of checkpoints. CheckpointError where there is none.
std::string resolve_checkpoint(const std::string& path);

/// Creates the folder and its parents where missing, for the user alone.
void create_checkpoints_folder(const std::string& folder);

/// Removes what killed processes left behind while saving or removing. WriteError.
void remove_temporary_checkpoints(const std::string& folder);

/// Keeps the newest `keep` checkpoints up to `step` whose manifest, file names and sizes are in order, and
/// removes all older ones; 0 keeps all. Later steps are not touched. A checkpoint disappears in one instant:
/// it is renamed to a temporary name first. Of a link to a checkpoint elsewhere only the link goes.
/// WriteError.
void prune_checkpoints(const std::string& folder, int64_t step, int64_t keep);

} // namespace braid

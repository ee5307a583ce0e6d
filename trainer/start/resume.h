#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "trainer/checkpoint/checkpoint_manifest.h"
#include "trainer/config/run_config.h"

namespace braid {

/// Where a run goes on.
struct ResumePoint {
    std::string checkpoint; // empty: starts at step 0
    int64_t step = 0;
    std::string message; // for the user; empty if there is nothing to say
    // How it starts from another run's checkpoint; nothing where the checkpoint is the run's own.
    std::optional<StartMode> start = std::nullopt;
};

/// What tells the steps after `first` and up to `step` of two runs apart, as far as their configs decide it;
/// empty where they computed the same numbers. Keys that set the learning rate do not count while they give
/// the same rates: a run with a constant rate, or in the stable phase of wsd, may be trained longer. Nor does
/// `start`, which has had its effect.
std::vector<ConfigDifference> differences_until(const RunConfig& then, const RunConfig& now, int64_t step,
                                                int64_t first = 0);

/// CheckpointError where no run of this config can stand where `training` says. Hashes only find accidents.
void expect_reachable(const TrainingState& training, const RunConfig& config, const std::string& checkpoint);

/// What a run folder says of the run in it.
struct StoredRun {
    std::string config; // config.yaml
    // The save id of the other run's checkpoint that it began from, empty for none; nothing: not known.
    std::optional<std::string> parent = std::nullopt;
};

/// Decides by the rules of `--resume` (auto, never, or a path); `stored_run` is nothing for a new folder.
/// Reads only.
///
/// ConfigError where the steps that the folder holds up to the checkpoint are of a run with other numbers,
/// naming old and new values, or `never` meets a used folder. CheckpointError where checkpoints exist and
/// none can be used, or the path's is of such a run. With auto a checkpoint in the folder that another run
/// wrote is passed over, as is one that does not verify. `tick`, where given, is called often meanwhile.
ResumePoint find_resume_point(const RunConfig& config, const std::string& resume,
                              const std::optional<StoredRun>& stored_run,
                              const std::string& checkpoints_folder, const std::function<void()>& tick = {});

} // namespace braid

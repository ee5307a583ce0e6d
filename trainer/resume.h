#pragma once

#include <optional>
#include <string>

#include "trainer/run_config.h"
#include "trainer/run_folder.h"

namespace braid {

/// Where a run goes on.
struct ResumePoint {
    std::string checkpoint; // empty: starts at step 0
    int64_t step = 0;
    std::string message; // for the user; empty if there is nothing to say
};

/// Decides by the rules of `--resume` (auto, never, or a path). ConfigError where the folder belongs to a run
/// whose numbers differ, naming old and new values, or `never` meets a used folder; CheckpointError where
/// checkpoints exist and none verifies, or the path's config differs..
ResumePoint find_resume_point(const RunConfig& config, const std::string& resume,
                              const std::optional<std::string>& stored_config,
                              const std::string& checkpoints_folder);

} // namespace braid

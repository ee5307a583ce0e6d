#pragma once

#include <string>

#include "trainer/start/resume.h"

namespace braid {

/// Where a run begins that has `start` and no checkpoint of its own: at the newest checkpoint of the parent
/// that verifies, or at the one that start.from names. `recorded`: the parent that an earlier start of this
/// run took, which is taken again; empty if there was none. Reads only; `tick` is called often meanwhile.
///
/// CheckpointError where there is none or it cannot be read; ConfigError naming the keys that a branch may
/// not change, or where it has no step left to do.
ResumePoint find_parent(const RunConfig& config, const std::string& recorded,
                        const std::function<void()>& tick = {});

/// The keys that differ and that a branch of `parent` may not change: those that make the model another
/// function of its parameters, and optimizer.type. It may change loss weights, optimizer, schedule, data,
/// batch and layout.
std::vector<ConfigDifference> forbidden_in_branch(const RunConfig& parent, const RunConfig& branch);

} // namespace braid

#pragma once

#include <string>

#include "data/loader.h"
#include "trainer/checkpoint/training_state.h"
#include "trainer/config/run_config.h"

namespace braid {

/// Makes a loader of this config's data draw what the run drew whose folder the config lies in: its data
/// order, and where a branch went on, as its newest checkpoint that can be read says. Without one, as in a
/// config outside a run folder, a branch goes on from its parent, and any other run leaves the loader as it
/// is. CheckpointError where the run had other data, or the parent cannot be read; ConfigError as
/// find_parent().
SamplePosition follow_run(TrainLoader& loader, const RunConfig& config, const std::string& config_path);

} // namespace braid

#pragma once

#include <string>

#include "data/loader.h"
#include "trainer/training_state.h"

namespace braid {

/// Makes a loader of this config's data draw what the run drew whose folder the config lies in: its data
/// order, and where a branch went on, as its newest checkpoint that can be read says. A config outside a run
/// folder, or of a run without checkpoints, leaves the loader as it is. CheckpointError where the run had
/// other data.
SamplePosition follow_run(TrainLoader& loader, const std::string& config_path);

} // namespace braid

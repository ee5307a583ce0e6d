#pragma once

#include <string>

#include "trainer/checkpoint/checkpoint_manifest.h"
#include "trainer/config/run_config.h"

namespace braid {

/// The config of the run that wrote a checkpoint, which may come from a stranger: nothing but what its text
/// says, no file opened and no environment seen. CheckpointError naming the checkpoint where it is no config
/// that this program reads.
RunConfig stored_run_config(const Manifest& manifest, const std::string& checkpoint);

} // namespace braid

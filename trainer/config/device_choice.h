#pragma once

#include <string_view>

#include "tensor/memory/device.h"
#include "trainer/config/run_config.h"

namespace braid {

/// The device of a rank that is the node_rank-th of node_size on its machine: its own GPU, or the CPU. With
/// BRAID_SHARE_GPU=1 (parallel/gpu_ranks.h) and `cuda` ranks take turns at the GPUs where there are fewer.
/// ConfigError, which names `key`, where GPUs are asked for and this build or the machine has too few.
Device choose_device(DeviceChoice choice, int node_rank, int node_size,
                     std::string_view key = "train.device");

} // namespace braid

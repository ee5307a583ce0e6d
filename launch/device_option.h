#pragma once

#include <string>

#include "launch/mpi_session.h"
#include "tensor/device.h"

namespace CLI {
class App;
}

namespace braid {

/// Adds --device to a command that runs a checkpoint: auto, cpu or cuda, as train.device takes it.
void add_device_option(CLI::App& command, std::string& device);

/// A stream on the device that --device chose, of a process alone or of a rank. ConfigError where this build
/// or the machine has too few GPUs.
Stream chosen_device(const std::string& device);
Stream chosen_device(const std::string& device, const MpiSession& session);

} // namespace braid

#pragma once

#include <string>

#include "launch/command_line.h"
#include "launch/mpi_session.h"
#include "tensor/memory/device.h"

namespace braid {

/// Adds --device to a command that runs a checkpoint: auto, cpu or cuda, as train.device takes it.
void add_device_option(Command command, std::string& device);

/// A stream on the device that --device chose, of a process alone or of a rank. ConfigError where this build
/// or the machine has too few GPUs.
Stream chosen_device(const std::string& device);
Stream chosen_device(const std::string& device, const MpiSession& session);

} // namespace braid

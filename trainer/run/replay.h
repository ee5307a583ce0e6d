#pragma once

#include <functional>
#include <string>
#include <vector>

#include "parallel/communicator.h"
#include "tensor/memory/device.h"
#include "trainer/config/run_config.h"

namespace braid {

struct ReplayRequest {
    std::string run_folder;
    RunConfig config; // of the run, with what shall be different
    int64_t step = 0; // the last that is run again
    int node_size = 1;
    Stream compute;
    std::function<void(const std::string&)> print;  // a line of metrics.jsonl or layers.jsonl
    std::function<void(const std::string&)> notice; // what was found, in words
    std::function<bool()> stop_requested;
};

/// Runs steps of a run again, from its newest checkpoint before `step` or from its start, and prints the
/// lines of metrics of each and, of `step`, those of every layer. Writes nothing. With the run's own config
/// and layout the numbers are those of metrics.jsonl to the last bit; whether they are is said. Collective.
/// ConfigError for a step that the run did not reach within its config, CheckpointError where no checkpoint
/// can be read.
void replay(const ReplayRequest& request, Communicator& world);

/// The config that a run folder holds, with overrides "key.path=value". ConfigError for a folder without one.
RunConfig read_folder_config(const std::string& folder, const std::vector<std::string>& overrides);

} // namespace braid

#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "parallel/communicator.h"
#include "tensor/memory/device.h"
#include "trainer/config/run_config.h"
#include "trainer/metrics/progress.h"

namespace braid {

/// What `braid train` was asked to do, and what the launcher knows of the place it runs in.
struct TrainRequest {
    RunConfig config;
    std::string resume = "auto"; // auto, never, or the path of a checkpoint
    bool dry_run = false;        // prepare everything, write nothing, stop before the first step

    std::vector<std::string> command;
    std::map<std::string, std::string> libraries; // versions only the launcher knows
    std::map<std::string, std::string> labels;    // what the run is part of, for its record
    int num_threads = 1;                          // per rank
    int node_size = 1;                            // ranks on this rank's machine
    Stream compute;                               // that operations run in
    ProgressOptions progress;                     // used on rank 0
    std::function<void()> started;                // called when a stop has something to save from now on
    std::function<bool()> stop_requested;         // polled between steps and within evaluations
};

/// A whole training run as the user sees it: run folder, resume, steps, evaluations, checkpoints, metrics.
/// Collective. Returns ok, or stopped (75) after saving because a stop was requested; faults that concern all
/// ranks come as AgreedError.
ExitCode run_training(const TrainRequest& request, Communicator& world);

} // namespace braid

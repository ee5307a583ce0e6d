#pragma once

#include <cstdint>
#include <string>

namespace braid {

/// The name of the folder in a run folder that holds what later starts left behind.
constexpr const char* kSupersededFolder = "superseded";

/// What a start moved out of the way.
struct Superseded {
    std::string folder;                                 // empty: nothing
    int64_t checkpoints = 0, lines = 0, unreadable = 0; // lines of metrics.jsonl; torn lines were dropped
    std::string describe() const; // one line for the user; empty where nothing was moved
};

/// Moves all that a run folder holds of steps after `last_step` into RUN/superseded/NNNN-after-step-S, so
/// that what a start at that step goes on from is the newest there is: checkpoints, lines of metrics.jsonl
/// and layers.jsonl, TensorBoard's events. -1: of all steps, as for a start from nothing. Lines torn by a
/// crash are dropped. Nothing there is ever removed by Braid.
///
/// Killed in the middle it leaves a run folder from which the newest checkpoint goes on without a hole:
/// checkpoints go first, the newest ahead, and only then the lines. The caller holds the run's lock.
/// WriteError, DataError.
Superseded retire_later_steps(const std::string& run_folder, int64_t last_step);

} // namespace braid

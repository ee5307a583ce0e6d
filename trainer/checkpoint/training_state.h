#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "data/loader.h"
#include "trainer/checkpoint/checkpoint_manifest.h"
#include "trainer/config/run_config.h"

namespace braid {

// What a checkpoint says of the data, beside the tensors.

/// Notes the tokenizer and what decides the samples.
void store_data_identity(TrainingState& state, const TrainLoader& loader);
/// The data order (TrainLoader::set_order) of the run that wrote the state. CheckpointError for one unknown
/// here.
int stored_data_order(const TrainingState& state, const std::string& checkpoint);
/// The tokenizer of the run that wrote the state.
TokenizerIdentity stored_tokenizer(const TrainingState& state, int64_t vocab_size);

/// Which samples the steps of a run take. A run from nothing counts both from 0; a branch goes on with the
/// steps of its parent, and with its samples too where the data are the same.
struct SamplePosition {
    int64_t first_step = 0;         // updates done before the branch
    int64_t first_sample = 0;       // the first sample of its first step
    int64_t first_tokens = 0;       // labels learned from before the branch
    std::vector<int64_t> skipped{}; // of each source, taken before sample 0; empty: none
    std::vector<SampleGap> gaps{};  // that the runs a branch comes from left out of the same data

    /// The first sample of the step after `steps_done` updates.
    int64_t sample_after(int64_t steps_done, int64_t global_batch) const {
        return first_sample + (steps_done - first_step) * global_batch;
    }
};

/// Sets the state's sample, and notes the position and how many samples each source has given.
void store_position(TrainingState& state, const SamplePosition& position, int64_t global_batch,
                    const TrainLoader& loader);
/// CheckpointError where the numbers cannot be.
SamplePosition stored_position(const TrainingState& state, const std::string& checkpoint);
/// Makes the loader go on where the position says, and leave out what data.skip names of the run's own steps.
/// CheckpointError where the position counts other sources.
void apply_position(const SamplePosition& position, const RunConfig& config, TrainLoader& loader,
                    const std::string& checkpoint);
/// Of a branch from `parent`, of the run `its`, that reads with `loader`. The same data go on where they are,
/// in the parent's order, which the loader gets. Of other data a source that the parent had, by its
/// fingerprint, goes on behind the tokens taken of it, and a new one starts. CheckpointError where the parent
/// does not say what it took.
SamplePosition branch_position(const TrainingState& parent, const RunConfig& its, TrainLoader& loader,
                               const std::string& checkpoint);

/// Notes the save id of the other run's checkpoint that the run started from; none: "".
void store_parent(TrainingState& state, const std::string& save_id);
std::string stored_parent(const TrainingState& state);

/// The parameters whose optimizer state began in the middle of a run, and after which step.
void store_first_steps(TrainingState& state, const std::map<std::string, int64_t>& first_steps);
std::map<std::string, int64_t> stored_first_steps(const TrainingState& state, const std::string& checkpoint);

/// CheckpointError unless the loader gives the samples of the run that wrote the state.
void expect_same_data(const TrainingState& state, const TrainLoader& loader, const std::string& checkpoint);

} // namespace braid

#pragma once

#include "data/loader.h"
#include "trainer/checkpoint_manifest.h"

namespace braid {

// What a checkpoint says of the data, beside the tensors.

/// Notes the tokenizer and what decides the samples.
void store_data_identity(TrainingState& state, const TrainLoader& loader);
/// The data order (TrainLoader::set_order) of the run that wrote the state. CheckpointError for one unknown
/// here.
int stored_data_order(const TrainingState& state, const std::string& checkpoint);
/// The tokenizer of the run that wrote the state.
TokenizerIdentity stored_tokenizer(const TrainingState& state, int64_t vocab_size);

/// CheckpointError unless the loader gives the samples of the run that wrote the state.
void expect_same_data(const TrainingState& state, const TrainLoader& loader, const std::string& checkpoint);

} // namespace braid

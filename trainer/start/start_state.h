#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "trainer/checkpoint/rank_state.h"
#include "trainer/config/run_config.h"

namespace braid {

/// Fills a store and its optimizer from the checkpoint a branch comes from. Parameters must be the
/// checkpoint's, each in its shape. Optimizer state that it lacks, as of parameters that were frozen, and
/// buffers that it lacks begin at zero; what only it has is left out. Returns the parameters whose optimizer
/// state begins here. Element types are converted. CheckpointError.
std::vector<std::string> load_branch(const CheckpointReader& checkpoint, ParameterStore& store,
                                     const Optimizer& optimizer);

/// Which tensor of a checkpoint, by name without its kind, each of a model is filled from.
struct WeightPlan {
    std::map<std::string, std::string> sources; // new name -> old name
    std::vector<std::string> missing;           // of the model: they keep their initial values
    std::vector<std::string> surplus;           // of the checkpoint: nothing is done with them
};

/// The longest entry of `map` that is a tensor's name or a prefix of it (whole parts between dots) gives its
/// old name; without one the name is the same. ConfigError naming the tensors where shapes differ or where
/// `start` refuses what is missing or surplus, and entries of the map that name nothing in the model or
/// nothing in the checkpoint. Buffers that count (tokens of the step before) take no part.
WeightPlan plan_weights(const std::vector<TensorInfo>& model, const Manifest& checkpoint,
                        const StartConfig& start);

/// Fills parameters and buffers as planned. Element types are converted.
void load_weights(const CheckpointReader& checkpoint, ParameterStore& store, const WeightPlan& plan);

} // namespace braid

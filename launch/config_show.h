#pragma once

#include <string>

#include "trainer/config/run_config.h"

namespace braid {

/// A sublayer's place in the residual stream, as "x + F(N(x))", with the scales of model.residual where they
/// are not 1.
std::string residual_formula(NormPlacement placement, const ResidualConfig& residual);

/// What `braid config show` prints: the layers one by one, then total_parameters and active_parameters.
std::string describe_model(const RunConfig& run);

/// What `braid config diff` says of the models: parameters and training FLOPs per token of both.
std::string describe_sizes(const RunConfig& a, const RunConfig& b);

/// What --tensors adds: one line per tensor with shape, role, initial standard deviation, weight decay,
/// learning-rate scale.
std::string describe_tensors(const RunConfig& run);

} // namespace braid

#pragma once

#include <cstdint>

#include "optim/optimizer_config.h"

namespace braid {

/// The learning rate of update `step` in 1..num_steps: a linear warmup over warmup_steps that reaches
/// config.lr at its last step, then the schedule's shape, which reaches min_lr at num_steps. A pure function,
/// so nothing needs to be saved.
///   cosine    min + (lr - min) (1 + cos(pi p)) / 2, p the progress after warmup in [0, 1]
///   linear    lr + (min - lr) p
///   wsd       lr until the last decay_steps, then min + (lr - min) f(p') with f = 1 - p' or 1 - sqrt(p')
///   constant  lr
double learning_rate(const OptimizerConfig& config, int64_t step, int64_t num_steps);

} // namespace braid

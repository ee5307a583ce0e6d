#pragma once

#include <map>
#include <string>
#include <vector>

#include "trainer/metrics/metrics.h"
#include "trainer/training/trainer.h"

namespace braid {

// What a step's numbers become in files and on the screen.

/// The line of a step. gemm_rate is that of all ranks, in operations per second.
StepMetrics step_metrics(const Trainer& trainer, const StepReport& report, double gemm_rate);
/// Adds evaluations and their mean.
void add_evaluations(StepMetrics& metrics, const Evaluations& evaluations);
/// The lines of layers.jsonl for a step with diagnostics.
std::vector<LayerMetrics> layer_metrics(const Trainer& trainer, const StepReport& report);
/// What a run says before its first step: model, ranks, batch, idle share, data, memory.
std::string describe_start(const Trainer& trainer, int num_ranks, int num_threads);

} // namespace braid

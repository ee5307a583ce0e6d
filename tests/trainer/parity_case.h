#pragma once

#include <string>
#include <vector>

#include "layers/model_config.h"
#include "layers/recorder.h"
#include "parallel/communicator.h"

namespace braid::testing {

// One small hybrid model that uses every kind of parameter and loss, run for two steps in some split of the
// step, and compared with another split: loss, every gradient after all reductions, gradient norm, updates,
// router state.

constexpr int64_t kParityGlobalBatch = 6;

ModelConfig parity_model(AuxScope scope, bool tied);

struct StepResult {
    double loss = 0, aux = 0, router_z = 0, norm = 0;
    std::vector<SequenceLoss> sequence_losses;       // of all samples of the step, run one by one
    std::vector<SequenceLoss> worst_sequences;       // as recorded
    std::vector<double> gradients, updates, buffers; // of all units; gradients after all reductions
};

/// Two steps in f64 on the ranks of `comm`, micro_batch sequences at a time. The result is that of the
/// second, so that router biases and expert fractions of the first take part.
StepResult run_parity_steps(const ModelConfig& config, Communicator& comm, int64_t micro_batch,
                            bool recompute = false);

/// Expects equality to 1e-12, the error of a tensor being max |a - b| / max(max |b|, 1e-3 root mean square).
void expect_same_step(const StepResult& a, const StepResult& b, const std::string& what);

} // namespace braid::testing

#pragma once

#include <optional>

#include "data/batch.h"
#include "layers/feed_forward/routing_trace.h"
#include "layers/specification/model_config.h"
#include "layers/sublayer/recorder.h"
#include "optim/optimizer_config.h"
#include "parallel/mesh.h"
#include "parallel/parallel_config.h"
#include "trainer/checkpoint/global_tensors.h"

namespace braid {

/// A few training steps of a model on made data, to be run in several layouts and compared.
struct LayoutCase {
    ModelConfig model;
    OptimizerConfig optimizer;       // its lr is constant
    std::vector<std::string> freeze; // globs of parameters that are held still
    uint64_t seed = 1;
    int64_t global_batch = 4, sequence_length = 16;
    int64_t steps = 2;
    DType precision = DType::f64;
    Stream compute = Stream(); // that this rank's operations run in
    // Tokens go to the experts that they went to in the reference, whatever their own scores say.
    bool replay_routing = false;
    // The eps of a second update from the same state and gradients, which is looked at and taken back.
    std::optional<double> reported_eps;
};

/// How ranks share out a case.
struct Layout {
    ParallelConfig parallel;
    int64_t micro_batch = 1;
    bool recompute = false;
    std::string name; // as a user wrote it
};

/// What a step gives, equal on all ranks.
struct LayoutStep {
    double loss = 0, aux_loss = 0, router_z_loss = 0, grad_norm = 0;
    double update_slope = 0; // the most that an update changes with its gradient: lr x clipping / eps of Adam
    std::map<std::string, double> matrix_slopes; // see Optimizer::update_slopes; of one rank, of all matrices
    std::vector<SequenceLoss> worst_sequences;
    GlobalTensors gradients;        // after all reductions
    GlobalTensors updates;          // of parameters
    GlobalTensors reported_updates; // with reported_eps
    GlobalTensors buffers;
    GlobalTensors state;                    // before the step: parameters, optimizer, buffers
    ExpertChoices experts;                  // of a run on one rank with replay_routing
    int64_t num_choices = 0, num_flips = 0; // of all ranks; see RoutingTrace
};

/// Sample i of a case: random tokens in random documents, with labels that do not cross them.
MicroBatch made_samples(const LayoutCase& run, int64_t first, int64_t count);

/// The case with piece_tokens of all mixtures of experts set to this.
LayoutCase in_pieces(LayoutCase run, int64_t piece_tokens);

/// Runs the case; collective over `world`. With a reference, every step starts from the state that the
/// reference had before that step, so that rounding does not add up over steps. ConfigError where the layout
/// does not fit.
std::vector<LayoutStep> run_layout(const LayoutCase& run, const Layout& layout, Communicator& world,
                                   const std::vector<LayoutStep>* reference = nullptr);

} // namespace braid

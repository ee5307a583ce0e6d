#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "data/batch.h"
#include "layers/model/model.h"
#include "optim/optimizer.h"
#include "parallel/mesh.h"
#include "trainer/checkpoint/rank_state.h"
#include "trainer/training/step.h"

namespace braid {

/// What a step's loss is made of, equal on all ranks.
struct StepLosses {
    double loss = 0;                           // nats per valid label
    double aux_loss = 0;                       // router balancing, as it enters the total
    double head_z_loss = 0, router_z_loss = 0; // as they enter the total
    double flops = 0;                          // model FLOPs of all ranks
};

/// One rank of a training: its part of the model, the optimizer, and what a step computes. Samples come from
/// its user, so that runs, `braid verify`, the parity tests and their mutants are one code. All calls are
/// collective.
class TrainingRank {
  public:
    struct Options {
        ParallelConfig parallel;
        int64_t global_batch = 1, micro_batch = 1; // sequences, of all ranks a step and of a rank at once
        int64_t sequence_length = 1;
        DType precision = DType::f32;
        bool recompute = false; // activations, in backward
    };
    /// `count` sequences from sample `first` on.
    using Samples = std::function<MicroBatch(int64_t first, int64_t count)>;

    /// Declares the parameters and freezes those that a glob names; takes no memory for them yet. The sizes
    /// must fit the model.
    TrainingRank(const ModelConfig& model, const std::vector<std::string>& freeze, Communicator& world,
                 const Options& options, const Stream& compute);
    ~TrainingRank();

    /// Takes memory, gives parameters their initial values and makes the optimizer.
    void allocate(const OptimizerConfig& optimizer, uint64_t seed);

    /// Calls body(first, count) for each micro-batch of this rank that has sequences, in the step whose
    /// samples begin at `first_sample`.
    void for_each_micro_batch(int64_t first_sample,
                              const std::function<void(int64_t first, int64_t count)>& body) const;
    /// This rank's micro-batches, empty ones included. A fault of `samples` on one rank ends all.
    std::vector<MicroBatch> load(int64_t first_sample, const Samples& samples) const;
    /// Micro-batches that this rank runs in a step; ranks that share experts run equally many.
    int64_t num_micro_batches() const;

    /// Forward and backward: afterwards the gradients are those of the step's loss. valid_labels are those of
    /// all ranks; `recorder` ends up with the numbers of all ranks.
    StepLosses compute(const std::vector<MicroBatch>& batches, int64_t valid_labels, Recorder& recorder,
                       Profiler* profiler = nullptr, RoutingTrace* routing = nullptr);
    /// Of the gradients of all parameters.
    double gradient_norm() const;
    /// The update `step` (from 1) with `optimizer`, which may be another than optimizer(); gradients times
    /// `clip`. `around`, where given, is called for each unit and calls what it is handed.
    void update(Optimizer& optimizer, int64_t step, double lr, double clip,
                const std::function<void(int unit, const std::function<void()>&)>& around = {});

    /// How the batch falls to the data ranks.
    EvenSplit batch_split() const { return {options_.global_batch, mesh_.grid().data.size}; }
    /// Parameters, optimizer and buffers.
    std::vector<StatePart> state(Extent extent) const;
    const Options& options() const { return options_; }
    const Mesh& mesh() const { return mesh_; }
    Mesh& mesh() { return mesh_; }
    Allocator& allocator() { return allocator_; }
    const Allocator& allocator() const { return allocator_; }
    const Model& model() const { return *model_; }
    /// Values may be under way from other ranks until StepRunner::await_parameters.
    ParameterStore& store() { return store_; }
    const ParameterStore& store() const { return store_; }
    Optimizer& optimizer() { return *optimizer_; }
    const Optimizer& optimizer() const { return *optimizer_; }
    StepRunner& runner() { return *runner_; }
    const StepRunner& runner() const { return *runner_; }

  private:
    const Options options_;
    Mesh mesh_;
    Allocator allocator_;
    ParameterStore store_;
    std::unique_ptr<Model> model_;
    std::unique_ptr<Optimizer> optimizer_;
    std::unique_ptr<StepRunner> runner_;
};

} // namespace braid

#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "data/prefetcher.h"
#include "trainer/checkpoint/training_state.h"
#include "trainer/config/run_config.h"
#include "trainer/training/evaluator.h"
#include "trainer/training/training_rank.h"

namespace braid {

/// What one step reports, equal on all ranks.
struct StepReport {
    int64_t step = 0;
    double loss = 0;      // nats per valid label, before the update
    double aux_loss = 0;  // router balancing, as it enters the total
    double z_loss = 0;    // of head and routers, as they enter the total
    double grad_norm = 0; // before clipping
    double lr = 0;
    int64_t valid_labels = 0;
    double flops = 0; // model FLOPs of the step, all ranks
    double data_seconds = 0, communication_seconds = 0, step_seconds = 0;
    int64_t host_waits = 0;                          // for a GPU (tensor/memory/host_wait.h)
    std::vector<std::vector<int64_t>> expert_counts; // [MoE layer][expert], of the whole step
    std::vector<SequenceLoss> worst_sequences;
    Recorder::Diagnostics diagnostics; // empty unless asked for
};

/// A training on one rank: what it computes (TrainingRank), its data and its position, and what changes them.
/// It knows nothing of run folders and logs: trainer/run/run.h drives it. All calls are collective; faults
/// come as AgreedError, on all ranks.
class Trainer {
  public:
    /// The config must be the same on all ranks. Checks that it fits the ranks and this machine, opens the
    /// data, takes memory and initialises. node_size is the number of ranks that share this rank's machine;
    /// operations run in `compute`, on the device it belongs to.
    Trainer(const RunConfig& config, Communicator& world, int node_size, const Stream& compute = Stream());

    /// Runs the next step. Exit 5, before the update, if loss or gradients are not finite; ExitCode::stopped,
    /// before anything is computed, if a rank waits for its data when `stop_requested` is true there.
    StepReport step(bool with_diagnostics, Profiler* profiler = nullptr,
                    const StopRequested& stop_requested = {});
    /// All validation sets, tasks and prompts.
    Evaluations evaluate(const StopRequested& stop_requested = {});

    /// Saves FOLDER/step-NNNNNNNN and removes old ones as checkpoint.keep says. Exit 8 if ranks hold
    /// different weights.
    void save(const std::string& checkpoints_folder);
    /// Continues from a checkpoint of this run.
    void load(const std::string& checkpoint);
    /// Starts from a checkpoint of another run, as `start` says. Returns what the user should know of it, a
    /// line each; empty where everything was taken.
    std::string start_from(const std::string& checkpoint);

    /// Updates done.
    int64_t steps_done() const { return step_; }
    /// Valid labels learned from.
    int64_t tokens_seen() const { return tokens_; }
    /// The share of time that an average rank idles because the batch does not divide evenly, in [0, 1).
    double idle_share() const;
    /// The save id of the other run's checkpoint that this run started from; empty: none.
    const std::string& parent() const { return parent_; }
    const RunConfig& config() const { return config_; }
    const Mesh& mesh() const { return rank_.mesh(); }
    const Model& model() const { return rank_.model(); }
    /// With all values in place.
    ParameterStore& store();
    const Allocator& allocator() const { return rank_.allocator(); }
    const StepRunner& runner() const { return rank_.runner(); }
    const TrainLoader& loader() const { return *loader_; }
    /// How often the steps of this run, from its first or its branch on to its last, go through source k.
    double epochs(int k) const;
    /// By name.
    const std::map<std::string, std::shared_ptr<const ValidationLoader>>& validation() const {
        return validation_;
    }
    const std::map<std::string, TaskSet>& tasks() const { return tasks_; }

  private:
    void check_memory(int node_size) const;
    void open_data();
    void open_tasks();
    void expect_plans_end();
    int64_t first_sample(int64_t steps_done) const {
        return position_.sample_after(steps_done, config_.train.global_batch);
    }
    std::string branch(const CheckpointReader& reader);
    std::string take_weights(const CheckpointReader& reader);
    void set_first_steps(std::map<std::string, int64_t> first_steps);
    std::vector<MicroBatch> load_micro_batches(const StopRequested& stop_requested);
    void prefetch_next();
    /// Runs `body`; puts `when` before what all ranks agree to stop for.
    void saying_when(const std::string& when, const std::function<void()>& body);
    void update(StepReport& report);
    void expect_finite(const StepReport& report);
    void expect_equal_replicas();
    uint64_t replica_hash(const ReductionGroup& group) const;

    const RunConfig config_;
    Communicator& world_;
    TrainingRank rank_;
    std::shared_ptr<TrainLoader> loader_; // with reads that hang when training ends
    std::unique_ptr<Prefetcher> prefetcher_;
    std::map<std::string, std::shared_ptr<const ValidationLoader>> validation_;
    std::map<std::string, TaskSet> tasks_;
    std::unique_ptr<Tokenizer> tokenizer_; // for tasks and prompts
    int64_t step_ = 0, tokens_ = 0;
    SamplePosition position_;
    std::string parent_;                         // see parent()
    std::map<std::string, int64_t> first_steps_; // see Optimizer::count_from
};

} // namespace braid

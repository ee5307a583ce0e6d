#pragma once

#include <functional>

#include "layers/model/model.h"
#include "parallel/gradient_reducer.h"
#include "parallel/mesh.h"
#include "parallel/parameter_all_gather.h"
#include "parallel/schedule.h"
#include "trainer/training/batch.h"

namespace braid {

/// The forward and backward runs of one rank's share of a training step, with the reductions of the schedule
/// between them. Afterwards the store's gradients are those of the whole step's loss on every rank that holds
/// a parameter; with GradientReducer::Options::own_share, on the rank that owns it.
class StepRunner {
  public:
    using BatchSource = std::function<Batch(int micro_batch)>;

    StepRunner(const Model& model, ParameterStore& store, const Mesh& mesh, Allocator& allocator,
               bool recompute, const GradientReducer::Options& reduction = {});

    /// num_micro_batches may differ between data ranks and be 0 unless experts are shared out; totals and the
    /// recorder's wishes must not. The recorder holds this rank's part until Recorder::reduce.
    void run(int num_micro_batches, const BatchSource& batch, const StepTotals& totals, Recorder& recorder,
             Profiler* profiler = nullptr, RoutingTrace* routing = nullptr);

    /// Calls update_unit for every unit. Where ranks update a share each, the values travel on into the next
    /// run(), which awaits each unit's before it reads them; who reads parameters otherwise, or ends, calls
    /// await_parameters() first.
    void update(const std::function<void(int unit)>& update_unit);
    void await_parameters();
    /// After the update: moves router biases by the step's expert counts of all ranks.
    void finish_routers(const Recorder& recorder) const;

    /// What run() and the update() after it will do.
    std::vector<Action> plan(int num_micro_batches) const;

    /// Seconds since the last call in communication that no computation hid.
    double take_exposed_communication_seconds();
    /// The most that one micro-batch kept for backward in the last run, in bytes.
    int64_t peak_saved_bytes() const { return peak_saved_bytes_; }

  private:
    /// A micro-batch between its forward and its backward.
    struct InFlight {
        LayerContext ctx;
        Tensor labels;
        std::vector<LayerSegment::Saved> saved;
        Values values; // what the last segment run so far gave
        std::unique_ptr<Gradients> gradients;
    };

    InFlight begin(const LayerContext& ctx, const Batch& batch) const;
    void forward(InFlight& flight, int first, int last);
    void backward(InFlight& flight, int first, int last);
    void seed_losses(InFlight& flight) const;
    void reduce(const Action& action);
    std::vector<Action> step_plan(int num_micro_batches) const;
    std::vector<Action> update_plan() const;

    const Model& model_;
    ParameterStore& store_;
    const Mesh& mesh_;
    Allocator& allocator_;
    const std::vector<LayerSegment> segments_;
    const Sharing sharing_;
    GradientReducer reducer_;
    ParameterAllGather all_gather_;
    int64_t peak_saved_bytes_ = 0;
};

} // namespace braid

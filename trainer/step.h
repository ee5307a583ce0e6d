#pragma once

#include <functional>

#include "layers/model.h"
#include "parallel/gradient_reducer.h"
#include "parallel/schedule.h"
#include "trainer/batch.h"

namespace braid {

/// The forward and backward runs of one rank's share of a training step, with the reductions of the schedule
/// between them. Afterwards the store's gradients are those of the whole step's loss, the same on every data
/// rank.
class StepRunner {
  public:
    using BatchSource = std::function<Batch(int micro_batch)>;

    StepRunner(const Model& model, ParameterStore& store, Communicator& data_group, Allocator& allocator,
               bool recompute, Reduction reduction = Reduction::ordered);

    /// num_micro_batches may differ between ranks and be 0; totals and the recorder's wishes must not. The
    /// recorder holds this rank's part until Recorder::reduce.
    void run(int num_micro_batches, const BatchSource& batch, const StepTotals& totals, Recorder& recorder,
             Profiler* profiler = nullptr);

    /// What run() will do.
    std::vector<Action> plan(int num_micro_batches) const;

    /// Seconds of the last run in communication that no computation hid.
    double exposed_communication_seconds() const { return exposed_seconds_; }
    /// The most that one micro-batch kept for backward in the last run, in bytes.
    int64_t peak_saved_bytes() const { return peak_saved_bytes_; }

  private:
    /// A micro-batch between its forward and its backward.
    struct InFlight {
        Context ctx;
        std::vector<Segment::Saved> saved;
        Values outputs;
        std::unique_ptr<Gradients> gradients;
    };

    void forward(InFlight& flight, const Batch& batch);
    void backward(InFlight& flight, int first, int last);
    void seed_losses(InFlight& flight) const;

    const Model& model_;
    ParameterStore& store_;
    Communicator& data_group_;
    Allocator& allocator_;
    const std::vector<Segment> segments_;
    GradientReducer reducer_;
    double exposed_seconds_ = 0;
    int64_t peak_saved_bytes_ = 0;
};

} // namespace braid

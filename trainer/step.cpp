#include "trainer/step.h"

#include <map>

#include "parallel/collective_log.h"

namespace braid {

StepRunner::StepRunner(const Model& model, ParameterStore& store, Communicator& data_group,
                       Allocator& allocator, bool recompute, Reduction reduction)
    : model_(model),
      store_(store),
      data_group_(data_group),
      allocator_(allocator),
      segments_(model.segments(recompute)),
      reducer_(data_group, allocator, store, reduction) {}

void StepRunner::run(int num_micro_batches, const BatchSource& batch, const StepTotals& totals,
                     Recorder& recorder, Profiler* profiler) {
    store_.zero_gradients();
    peak_saved_bytes_ = 0;
    Context ctx;
    ctx.allocator = &allocator_;
    ctx.profiler = profiler;
    ctx.recorder = &recorder;
    ctx.data_group = &data_group_;
    ctx.totals = totals;

    std::map<int, InFlight> flights;
    for (const Action& action : plan(num_micro_batches)) {
        switch (action.kind) {
            case Action::Kind::forward: {
                InFlight& flight =
                    flights.try_emplace(action.micro_batch, InFlight{ctx, {}, {}, {}}).first->second;
                forward(flight, batch(action.micro_batch));
                break;
            }
            case Action::Kind::backward:
                backward(flights.at(action.micro_batch), action.first, action.last);
                if (action.first == 0) flights.erase(action.micro_batch);
                break;
            case Action::Kind::reduce_start:
                reducer_.start(action.unit);
                break;
            case Action::Kind::reduce_add:
                reducer_.add(action.unit);
                break;
            case Action::Kind::reduce_finish:
                reducer_.finish(action.unit);
                break;
        }
    }
    exposed_seconds_ = reducer_.take_exposed_seconds();
}

std::vector<Action> StepRunner::plan(int num_micro_batches) const {
    std::vector<int> units;
    for (const Segment& segment : segments_) units.push_back(segment.unit());
    return make_schedule(num_micro_batches, units, data_group_.size() > 1);
}

void StepRunner::forward(InFlight& flight, const Batch& batch) {
    flight.ctx.documents = batch.documents;
    flight.ctx.labels = batch.labels;
    flight.saved.resize(segments_.size());
    Values values = {batch.tokens};
    int64_t saved_bytes = 0;
    for (size_t i = 0; i < segments_.size(); ++i) {
        const CollectiveLabel label(data_group_.log(), segments_[i].label(), "forward");
        values = segments_[i].forward(flight.ctx, values, &flight.saved[i]);
        saved_bytes += flight.saved[i].bytes();
    }
    peak_saved_bytes_ = std::max(peak_saved_bytes_, saved_bytes);
    flight.outputs = std::move(values);
    flight.gradients = std::make_unique<Gradients>(allocator_);
    seed_losses(flight);
}

void StepRunner::seed_losses(InFlight& flight) const {
    const double per_label = 1 / static_cast<double>(std::max<int64_t>(flight.ctx.totals->valid_labels, 1));
    const double seeds[] = {per_label, per_label * model_.head_z_weight()};
    for (size_t i = 0; i < 2; ++i) {
        Tensor dy = Tensor::empty(allocator_, flight.outputs[i].shape(), DType::f64);
        *dy.data<double>() = seeds[i];
        flight.gradients->add(flight.outputs[i].ref(), dy);
    }
    flight.outputs.clear();
}

void StepRunner::backward(InFlight& flight, int first, int last) {
    for (int i = last - 1; i >= first; --i) {
        const auto index = static_cast<size_t>(i);
        {
            const CollectiveLabel label(data_group_.log(), segments_[index].label(), "backward");
            segments_[index].backward(flight.ctx, flight.saved[index], *flight.gradients);
        }
        reducer_.poll();
    }
}

} // namespace braid

#include "trainer/training/step.h"

#include <map>

#include "parallel/collective_log.h"
#include "tensor/host_values.h"

namespace braid {

StepRunner::StepRunner(const Model& model, ParameterStore& store, const Mesh& mesh, Allocator& allocator,
                       bool recompute, const GradientReducer::Options& reduction)
    : model_(model),
      store_(store),
      mesh_(mesh),
      allocator_(allocator),
      segments_(model.segments(recompute)),
      sharing_{.reduce = mesh.world().size() > 1, .gather = reduction.own_share && mesh.world().size() > 1},
      reducer_(mesh, allocator, store, reduction),
      all_gather_(mesh, store) {}

void StepRunner::run(int num_micro_batches, const BatchSource& batch, const StepTotals& totals,
                     Recorder& recorder, Profiler* profiler, RoutingTrace* routing) {
    store_.zero_gradients();
    peak_saved_bytes_ = 0;
    LayerContext ctx;
    ctx.allocator = &allocator_;
    ctx.profiler = profiler;
    ctx.recorder = &recorder;
    ctx.routing = routing;
    ctx.mesh = &mesh_;
    ctx.totals = totals;

    std::map<int, InFlight> flights;
    for (const Action& action : step_plan(num_micro_batches)) {
        const int m = action.micro_batch;
        switch (action.kind) {
            case Action::Kind::begin:
                flights.emplace(m, begin(ctx, batch(m)));
                break;
            case Action::Kind::forward:
                forward(flights.at(m), action.first, action.last);
                break;
            case Action::Kind::backward:
                backward(flights.at(m), action.first, action.last);
                break;
            case Action::Kind::end:
                flights.erase(m);
                break;
            case Action::Kind::all_gather_finish:
                all_gather_.finish(action.unit);
                break;
            default:
                reduce(action);
        }
    }
    store_.zero_frozen_gradients();
}

void StepRunner::reduce(const Action& action) {
    switch (action.kind) {
        case Action::Kind::reduce_start:
            return reducer_.start(action.unit);
        case Action::Kind::reduce_add:
            return reducer_.add(action.unit);
        case Action::Kind::reduce_finish:
            return reducer_.finish(action.unit);
        default:
            throw InternalError("a step's plan holds an action of its update");
    }
}

void StepRunner::update(const std::function<void(int unit)>& update_unit) {
    for (const Action& action : update_plan()) {
        if (action.kind == Action::Kind::update) {
            update_unit(action.unit);
            if (!sharing_.gather) store_.values_changed(action.unit);
        }
        if (action.kind == Action::Kind::all_gather_start) all_gather_.start(action.unit);
        all_gather_.poll();
    }
}

void StepRunner::await_parameters() {
    for (size_t unit = 0; unit < store_.units().size(); ++unit) all_gather_.finish(static_cast<int>(unit));
}

void StepRunner::finish_routers(const Recorder& recorder) const {
    for (const MoeLayer* moe : model_.moe_layers()) {
        std::vector<int64_t> counts = recorder.expert_counts[static_cast<size_t>(moe->moe_index())];
        counts.resize(static_cast<size_t>(moe->config().num_experts)); // a step without a token has none
        moe->finish_step(tensor_of(allocator_, counts));
    }
}

std::vector<Action> StepRunner::step_plan(int num_micro_batches) const {
    std::vector<int> units;
    for (const LayerSegment& segment : segments_) units.push_back(segment.unit());
    return make_schedule(num_micro_batches, units, sharing_);
}

std::vector<Action> StepRunner::update_plan() const {
    return make_update_schedule(static_cast<int>(store_.units().size()), sharing_);
}

std::vector<Action> StepRunner::plan(int num_micro_batches) const {
    std::vector<Action> actions = step_plan(num_micro_batches);
    const std::vector<Action> update = update_plan();
    actions.insert(actions.end(), update.begin(), update.end());
    return actions;
}

double StepRunner::take_exposed_communication_seconds() {
    return reducer_.take_exposed_seconds() + all_gather_.take_exposed_seconds();
}

StepRunner::InFlight StepRunner::begin(const LayerContext& ctx, const Batch& batch) const {
    InFlight flight{
        ctx, batch.labels, std::vector<LayerSegment::Saved>(segments_.size()), {batch.tokens}, {}};
    flight.ctx.documents = batch.documents;
    return flight;
}

void StepRunner::forward(InFlight& flight, int first, int last) {
    for (int i = first; i < last; ++i) {
        const auto index = static_cast<size_t>(i);
        if (index + 1 == segments_.size()) flight.values.push_back(flight.labels);
        {
            const CollectiveLabel label(mesh_.world().log(), segments_[index].label(), "forward");
            flight.values = segments_[index].forward(flight.ctx, flight.values, &flight.saved[index]);
        }
        all_gather_.poll();
    }
    if (last < static_cast<int>(segments_.size())) return;
    int64_t saved_bytes = 0;
    for (const LayerSegment::Saved& saved : flight.saved) saved_bytes += saved.bytes();
    peak_saved_bytes_ = std::max(peak_saved_bytes_, saved_bytes);
    flight.gradients = std::make_unique<Gradients>(allocator_);
    seed_losses(flight);
}

void StepRunner::seed_losses(InFlight& flight) const {
    const double per_label = 1 / static_cast<double>(std::max<int64_t>(flight.ctx.totals->valid_labels, 1));
    const double seeds[] = {per_label, per_label * model_.head_z_weight()};
    for (size_t i = 0; i < 2; ++i) {
        Tensor dy = Tensor::empty(allocator_, flight.values[i].shape(), DType::f64);
        dy.fill(seeds[i]);
        flight.gradients->add(flight.values[i].ref(), dy);
    }
    flight.values.clear();
}

void StepRunner::backward(InFlight& flight, int first, int last) {
    for (int i = last - 1; i >= first; --i) {
        const auto index = static_cast<size_t>(i);
        {
            const CollectiveLabel label(mesh_.world().log(), segments_[index].label(), "backward");
            segments_[index].backward(flight.ctx, flight.saved[index], *flight.gradients);
        }
        reducer_.poll();
    }
}

} // namespace braid

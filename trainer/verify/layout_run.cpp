#include "trainer/verify/layout_run.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "layers/specification/layout_check.h"
#include "optim/gradient_norm.h"
#include "optim/optimizer.h"
#include "parallel/agreement.h"
#include "trainer/training/step.h"

namespace braid {
namespace {

/// One rank of a case.
class LayoutRank {
  public:
    LayoutRank(const LayoutCase& run, const Layout& layout, Communicator& world)
        : run_(run),
          layout_(layout),
          mesh_(world, layout.sizes),
          allocator_(run.compute),
          store_(mesh_.grid()) {
        model_ = std::make_unique<Model>(run.model, store_);
        store_.freeze(run.freeze);
        store_.allocate(allocator_, run.precision, true);
        store_.initialize(run.seed);
        optimizer_ = make_optimizer(run.optimizer, store_, mesh_, allocator_, layout.sharded);
        for (const ReductionGroup& group : reduction_groups(store_)) mesh_.prepare(group);
        runner_ = std::make_unique<StepRunner>(*model_, store_, mesh_, allocator_, layout.recompute,
                                               GradientReducer::Options{Reduction::ordered, layout.sharded});
    }

    LayoutStep step(int64_t index, const LayoutStep* reference);

  private:
    /// Forward and backward; fills in the losses.
    Recorder run_micro_batches(int64_t index, RoutingTrace* routing, LayoutStep& result);
    /// The change of all parameters from those in `state`.
    GlobalTensors update(Optimizer& optimizer, int64_t index, double clip, const GlobalTensors& state);
    /// The same with another eps; leaves parameters and optimizer_ as they are in `state`.
    GlobalTensors update_and_undo(double eps, int64_t index, double clip, const GlobalTensors& state);
    std::vector<StatePart> state(Extent extent) const;
    int64_t num_micro_batches() const;

    const LayoutCase& run_;
    const Layout& layout_;
    Mesh mesh_;
    Allocator allocator_;
    ParameterStore store_;
    std::unique_ptr<Model> model_;
    std::unique_ptr<Optimizer> optimizer_;
    std::unique_ptr<StepRunner> runner_;
};

int64_t LayoutRank::num_micro_batches() const {
    const RankGrid& grid = mesh_.grid();
    const EvenSplit split{run_.global_batch, grid.data.size};
    int64_t most = 0;
    for (int rank = 0; rank < split.size; ++rank) most = std::max(most, split.length(rank));
    if (grid.expert.size * grid.expert_tensor.size == 1) most = split.length(grid.data.index);
    return (most + layout_.micro_batch - 1) / layout_.micro_batch;
}

std::vector<StatePart> LayoutRank::state(Extent extent) const {
    std::vector<StatePart> parts = parameter_parts(store_, extent);
    for (auto& more : {optimizer_parts(store_, *optimizer_, extent), buffer_parts(store_, extent)})
        parts.insert(parts.end(), more.begin(), more.end());
    return parts;
}

LayoutStep LayoutRank::step(int64_t index, const LayoutStep* reference) {
    Communicator& world = mesh_.world();
    if (reference) {
        scatter_tensors(reference->state, state(Extent::held));
        store_.values_changed();
    }
    LayoutStep result;
    result.state = gather_tensors(world, state(Extent::owned));
    RoutingTrace routing{.given = reference ? &reference->experts : nullptr};
    const Recorder recorder = run_micro_batches(index, run_.replay_routing ? &routing : nullptr, result);
    std::array<int64_t, 2> counts{routing.num_choices, routing.num_flips};
    all_reduce_sum(world, std::span(counts));
    result.num_choices = counts[0];
    result.num_flips = counts[1];
    result.experts = std::move(routing.taken);

    double squares = gradient_sum_of_squares(store_);
    all_reduce_sum(world, std::span(&squares, 1));
    result.grad_norm = std::sqrt(squares);
    result.gradients = gather_tensors(world, parameter_parts(store_, Extent::owned, true));
    const double clip = clip_factor(result.grad_norm, run_.optimizer.clip);
    result.update_slope = run_.optimizer.lr * clip / run_.optimizer.eps;
    if (run_.reported_eps)
        result.reported_updates = update_and_undo(*run_.reported_eps, index, clip, result.state);
    result.updates = update(*optimizer_, index, clip, result.state);
    result.matrix_slopes = optimizer_->update_slopes();
    runner_->finish_routers(recorder);
    result.buffers = gather_tensors(world, buffer_parts(store_, Extent::owned));
    return result;
}

GlobalTensors LayoutRank::update(Optimizer& optimizer, int64_t index, double clip,
                                 const GlobalTensors& state) {
    runner_->update([&](int unit) { optimizer.update(unit, index + 1, run_.optimizer.lr, clip); });
    runner_->await_parameters();
    GlobalTensors updates = gather_tensors(mesh_.world(), parameter_parts(store_, Extent::owned));
    for (auto& [name, values] : updates)
        for (size_t i = 0; i < values.size(); ++i) values[i] -= state.at(name)[i];
    return updates;
}

GlobalTensors LayoutRank::update_and_undo(double eps, int64_t index, double clip,
                                          const GlobalTensors& state) {
    OptimizerConfig config = run_.optimizer;
    config.eps = eps;
    const auto optimizer = make_optimizer(config, store_, mesh_, allocator_, layout_.sharded);
    scatter_tensors(state, optimizer_parts(store_, *optimizer, Extent::held));
    GlobalTensors updates = update(*optimizer, index, clip, state);
    scatter_tensors(state, parameter_parts(store_, Extent::held));
    return updates;
}

Recorder LayoutRank::run_micro_batches(int64_t index, RoutingTrace* routing, LayoutStep& result) {
    const EvenSplit split{run_.global_batch, mesh_.grid().data.size};
    const int64_t start = index * run_.global_batch, mine = split.length(mesh_.grid().data.index);
    const int64_t first = start + split.first(mesh_.grid().data.index);
    const StepTotals totals{made_samples(run_, start, run_.global_batch).num_valid_labels,
                            run_.global_batch * run_.sequence_length, run_.global_batch};
    Recorder recorder(model_->moe_layers().size(), false);
    runner_->run(
        static_cast<int>(num_micro_batches()),
        [&](int m) {
            const int64_t at = m * layout_.micro_batch;
            const int64_t count = std::clamp<int64_t>(mine - at, 0, layout_.micro_batch);
            return to_tensors(allocator_,
                              count > 0 ? made_samples(run_, first + at, count) : empty_micro_batch());
        },
        totals, recorder, nullptr, routing);
    recorder.reduce(mesh_.world());
    result.loss = recorder.cross_entropy / static_cast<double>(totals.valid_labels);
    result.aux_loss = recorder.aux_loss;
    result.router_z_loss = recorder.router_z_loss;
    result.worst_sequences = recorder.worst_sequences();
    return recorder;
}

} // namespace

MicroBatch made_samples(const LayoutCase& run, int64_t first, int64_t count) {
    constexpr uint64_t kMeanDocument = 7;
    MicroBatch batch;
    batch.document_offsets = {0};
    batch.num_sequences = count;
    batch.sequence_length = run.sequence_length;
    batch.first_sample = first;
    const auto vocabulary = static_cast<uint64_t>(run.model.vocab_size);
    for (int64_t i = first; i < first + count; ++i) {
        const RngStream random(run.seed, RngPurpose::test, fmt::format("sample {}", i));
        for (int64_t t = 0; t < run.sequence_length; ++t) {
            const auto at = static_cast<uint64_t>(t);
            const bool ends = t + 1 == run.sequence_length || random.bits(at, 1) % kMeanDocument == 0;
            batch.tokens.push_back(static_cast<int32_t>(random.bits(at) % vocabulary));
            const bool counts = random.bits(at, 2) % 5 != 0;
            batch.labels.push_back(counts ? static_cast<int32_t>(random.bits(at + 1) % vocabulary) : -1);
            batch.num_valid_labels += counts;
            if (ends) batch.document_offsets.push_back(static_cast<int32_t>(batch.tokens.size()));
        }
    }
    return batch;
}

LayoutCase in_pieces(LayoutCase run, int64_t piece_tokens) {
    for (auto& [name, sublayer] : run.model.sublayers)
        if (auto* moe = std::get_if<MoeConfig>(&sublayer.kind)) moe->piece_tokens = piece_tokens;
    return run;
}

std::vector<LayoutStep> run_layout(const LayoutCase& run, const Layout& layout, Communicator& world,
                                   const std::vector<LayoutStep>* reference) {
    agree(world,
          [&] { LayoutRules(run.model).expect_fits(make_grid(layout.sizes, world.size(), world.rank())); });
    LayoutRank rank(run, layout, world);
    std::vector<LayoutStep> steps;
    for (int64_t step = 0; step < run.steps; ++step)
        steps.push_back(rank.step(step, reference ? &reference->at(static_cast<size_t>(step)) : nullptr));
    return steps;
}

} // namespace braid

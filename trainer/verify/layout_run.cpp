#include "trainer/verify/layout_run.h"

#include <array>

#include "layers/feed_forward/moe_config.h"
#include "layers/specification/layout_check.h"
#include "optim/gradient_norm.h"
#include "optim/optimizer.h"
#include "parallel/agreement.h"
#include "trainer/training/training_rank.h"

namespace braid {
namespace {

TrainingRank::Options options_of(const LayoutCase& run, const Layout& layout) {
    return {.parallel = layout.parallel,
            .global_batch = run.global_batch,
            .micro_batch = layout.micro_batch,
            .sequence_length = run.sequence_length,
            .precision = run.precision,
            .recompute = layout.recompute};
}

/// One rank of a case: steps of a TrainingRank that start from given states, and what they give as whole
/// tensors.
class LayoutRank {
  public:
    LayoutRank(const LayoutCase& run, const Layout& layout, Communicator& world)
        : run_(run),
          world_(world),
          rank_(run.model, run.freeze, world, options_of(run, layout), run.compute) {
        rank_.allocate(run.optimizer, run.seed);
    }

    LayoutStep step(int64_t index, const LayoutStep* reference);

  private:
    /// Forward and backward; fills in the losses.
    Recorder compute(int64_t index, RoutingTrace* routing, LayoutStep& result);
    /// The change of all parameters from those in `state`.
    GlobalTensors update(Optimizer& optimizer, int64_t index, double clip, const GlobalTensors& state);
    /// The same with another eps; leaves parameters and optimizer as they are in `state`.
    GlobalTensors update_and_undo(double eps, int64_t index, double clip, const GlobalTensors& state);

    const LayoutCase& run_;
    Communicator& world_;
    TrainingRank rank_;
};

LayoutStep LayoutRank::step(int64_t index, const LayoutStep* reference) {
    if (reference) {
        scatter_tensors(reference->state, rank_.state(Extent::held));
        rank_.store().values_changed();
    }
    LayoutStep result;
    result.state = gather_tensors(world_, rank_.state(Extent::owned));
    RoutingTrace routing{.given = reference ? &reference->experts : nullptr};
    const Recorder recorder = compute(index, run_.replay_routing ? &routing : nullptr, result);
    std::array<int64_t, 2> counts{routing.num_choices, routing.num_flips};
    all_reduce_sum(world_, std::span(counts));
    result.num_choices = counts[0];
    result.num_flips = counts[1];
    result.experts = std::move(routing.taken);

    result.grad_norm = rank_.gradient_norm();
    result.gradients = gather_tensors(world_, parameter_parts(rank_.store(), Extent::owned, true));
    const double clip = clip_factor(result.grad_norm, run_.optimizer.clip);
    result.update_slope = run_.optimizer.lr * clip / run_.optimizer.eps;
    if (run_.reported_eps)
        result.reported_updates = update_and_undo(*run_.reported_eps, index, clip, result.state);
    result.updates = update(rank_.optimizer(), index, clip, result.state);
    result.matrix_slopes = rank_.optimizer().update_slopes();
    rank_.runner().finish_routers(recorder);
    result.buffers = gather_tensors(world_, buffer_parts(rank_.store(), Extent::owned));
    return result;
}

GlobalTensors LayoutRank::update(Optimizer& optimizer, int64_t index, double clip,
                                 const GlobalTensors& state) {
    rank_.update(optimizer, index + 1, run_.optimizer.lr, clip);
    rank_.runner().await_parameters();
    GlobalTensors updates = gather_tensors(world_, parameter_parts(rank_.store(), Extent::owned));
    for (auto& [name, values] : updates)
        for (size_t i = 0; i < values.size(); ++i) values[i] -= state.at(name)[i];
    return updates;
}

GlobalTensors LayoutRank::update_and_undo(double eps, int64_t index, double clip,
                                          const GlobalTensors& state) {
    OptimizerConfig config = run_.optimizer;
    config.eps = eps;
    ParameterStore& store = rank_.store();
    const auto optimizer =
        make_optimizer(config, store, rank_.mesh(), rank_.allocator(), rank_.options().parallel.zero > 0);
    scatter_tensors(state, optimizer_parts(store, *optimizer, Extent::held));
    GlobalTensors updates = update(*optimizer, index, clip, state);
    scatter_tensors(state, parameter_parts(store, Extent::held));
    return updates;
}

Recorder LayoutRank::compute(int64_t index, RoutingTrace* routing, LayoutStep& result) {
    const int64_t start = index * run_.global_batch;
    const std::vector<MicroBatch> batches =
        rank_.load(start, [&](int64_t first, int64_t count) { return made_samples(run_, first, count); });
    Recorder recorder(rank_.model().moe_layers().size(), false);
    const StepLosses losses = rank_.compute(
        batches, made_samples(run_, start, run_.global_batch).num_valid_labels, recorder, nullptr, routing);
    result.loss = losses.loss;
    result.aux_loss = losses.aux_loss;
    result.router_z_loss = losses.router_z_loss;
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
        if (auto* moe = sublayer.kind.get_if<MoeConfig>()) moe->piece_tokens = piece_tokens;
    return run;
}

std::vector<LayoutStep> run_layout(const LayoutCase& run, const Layout& layout, Communicator& world,
                                   const std::vector<LayoutStep>* reference) {
    agree(world, [&] {
        LayoutRules(run.model).expect_fits(make_grid(layout.parallel, world.size(), world.rank()));
    });
    LayoutRank rank(run, layout, world);
    std::vector<LayoutStep> steps;
    for (int64_t step = 0; step < run.steps; ++step)
        steps.push_back(rank.step(step, reference ? &reference->at(static_cast<size_t>(step)) : nullptr));
    return steps;
}

} // namespace braid

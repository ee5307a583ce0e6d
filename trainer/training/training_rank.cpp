#include "trainer/training/training_rank.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <exception>

#include "optim/gradient_norm.h"
#include "parallel/agreement.h"

namespace braid {

TrainingRank::TrainingRank(const ModelConfig& model, const std::vector<std::string>& freeze,
                           Communicator& world, const Options& options, const Stream& compute)
    : options_(options), mesh_(world, options.parallel), allocator_(compute), store_(mesh_.grid()) {
    agree(world, [&] {
        model_ = std::make_unique<Model>(model, store_);
        store_.freeze(freeze);
    });
}

TrainingRank::~TrainingRank() {
    // The last update's values may still travel between ranks, from and to memory that is about to go. While
    // an error unwinds, the job ends and others may be gone already.
    if (!runner_ || std::uncaught_exceptions() > 0) return;
    try {
        runner_->await_parameters();
    } catch (const Error&) {
        // Another rank has failed; it reports itself.
    }
}

void TrainingRank::allocate(const OptimizerConfig& optimizer, uint64_t seed) {
    agree(mesh_.world(), [&] {
        store_.allocate(allocator_, options_.precision, true);
        store_.initialize(seed);
        optimizer_ = make_optimizer(optimizer, store_, mesh_, allocator_, options_.parallel.zero > 0);
    });
    for (const ReductionGroup& group : reduction_groups(store_)) mesh_.prepare(group);
    runner_ = std::make_unique<StepRunner>(
        *model_, store_, mesh_, allocator_, options_.recompute,
        GradientReducer::Options{options_.parallel.reduction, options_.parallel.zero > 0});
}

int64_t TrainingRank::num_micro_batches() const {
    const EvenSplit split = batch_split();
    const auto needed = [&](int rank) {
        return (split.length(rank) + options_.micro_batch - 1) / options_.micro_batch;
    };
    // Ranks that share experts work in step; those with fewer sequences run empty micro-batches.
    const RankGrid& grid = mesh_.grid();
    if (grid.expert.size * grid.expert_tensor.size == 1) return needed(grid.data.index);
    int64_t most = 0;
    for (int rank = 0; rank < split.size; ++rank) most = std::max(most, needed(rank));
    return most;
}

void TrainingRank::for_each_micro_batch(int64_t first_sample,
                                        const std::function<void(int64_t first, int64_t count)>& body) const {
    const EvenSplit split = batch_split();
    const int rank = mesh_.grid().data.index;
    const int64_t start = first_sample + split.first(rank), count = split.length(rank);
    for (int64_t at = 0; at < count; at += options_.micro_batch)
        body(start + at, std::min(options_.micro_batch, count - at));
}

std::vector<MicroBatch> TrainingRank::load(int64_t first_sample, const Samples& samples) const {
    std::vector<MicroBatch> batches;
    agree(mesh_.world(), [&] {
        for_each_micro_batch(first_sample,
                             [&](int64_t first, int64_t count) { batches.push_back(samples(first, count)); });
    });
    batches.resize(static_cast<size_t>(num_micro_batches()), empty_micro_batch());
    return batches;
}

StepLosses TrainingRank::compute(const std::vector<MicroBatch>& batches, int64_t valid_labels,
                                 Recorder& recorder, Profiler* profiler, RoutingTrace* routing) {
    StepLosses losses;
    const StepTotals totals{valid_labels, options_.global_batch * options_.sequence_length,
                            options_.global_batch};
    runner_->run(
        static_cast<int>(batches.size()),
        [&](int m) {
            Batch tensors = to_tensors(allocator_, batches[static_cast<size_t>(m)]);
            if (mesh_.grid().tensor.index == 0) // the ranks of one data rank share its operations
                losses.flops += 3 * model_->forward_flops(*tensors.documents);
            return tensors;
        },
        totals, recorder, profiler, routing);
    recorder.reduce(mesh_.world());
    all_reduce_sum(mesh_.world(), std::span(&losses.flops, 1));
    const double labels = static_cast<double>(std::max<int64_t>(valid_labels, 1));
    losses.loss = recorder.cross_entropy / labels;
    losses.aux_loss = recorder.aux_loss;
    losses.head_z_loss = recorder.head_z / labels * model_->head_z_weight();
    losses.router_z_loss = recorder.router_z_loss;
    return losses;
}

double TrainingRank::gradient_norm() const {
    double squares = gradient_sum_of_squares(store_);
    all_reduce_sum(mesh_.world(), std::span(&squares, 1));
    return std::sqrt(squares);
}

void TrainingRank::update(Optimizer& optimizer, int64_t step, double lr, double clip,
                          const std::function<void(int unit, const std::function<void()>&)>& around) {
    runner_->update([&](int unit) {
        const auto run = [&] { optimizer.update(unit, step, lr, clip); };
        around ? around(unit, run) : run();
    });
}

std::vector<StatePart> TrainingRank::state(Extent extent) const {
    std::vector<StatePart> parts = parameter_parts(store_, extent);
    for (auto& more : {optimizer_parts(store_, *optimizer_, extent), buffer_parts(store_, extent)})
        parts.insert(parts.end(), more.begin(), more.end());
    return parts;
}

} // namespace braid

#include "trainer/layout_run.h"

#include <algorithm>
#include <cmath>

#include "layers/layout_check.h"
#include "optim/gradient_norm.h"
#include "optim/optimizer.h"
#include "parallel/agreement.h"
#include "trainer/step.h"

namespace braid {
namespace {

/// One rank of a case.
class LayoutRank {
  public:
    LayoutRank(const LayoutCase& run, const Layout& layout, Communicator& world)
        : run_(run), layout_(layout), mesh_(world, layout.sizes), store_(mesh_.grid()) {
        model_ = std::make_unique<Model>(run.model, store_);
        store_.allocate(allocator_, run.precision, true);
        store_.initialize(run.seed);
        optimizer_ = make_optimizer(run.optimizer, store_, allocator_, layout.sharded);
        for (const ReductionGroup& group : reduction_groups(store_)) mesh_.prepare(group);
        runner_ = std::make_unique<StepRunner>(*model_, store_, mesh_, allocator_, layout.recompute,
                                               GradientReducer::Options{Reduction::ordered, layout.sharded});
    }

    LayoutStep step(int64_t index, const LayoutStep* reference);

  private:
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
    if (reference) scatter_tensors(reference->state, state(Extent::held));
    LayoutStep result;
    result.state = gather_tensors(world, allocator_, state(Extent::owned));
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
        totals, recorder);
    recorder.reduce(world);
    result.loss = recorder.cross_entropy / static_cast<double>(totals.valid_labels);
    result.aux_loss = recorder.aux_loss;
    result.router_z_loss = recorder.router_z_loss;
    result.worst_sequences = recorder.worst_sequences();
    double squares = gradient_sum_of_squares(store_);
    all_reduce_sum(world, std::span(&squares, 1));
    result.grad_norm = std::sqrt(squares);
    result.gradients = gather_tensors(world, allocator_, parameter_parts(store_, Extent::owned, true));
    const double clip = clip_factor(result.grad_norm, run_.optimizer.clip);
    result.update_slope = run_.optimizer.lr * clip / run_.optimizer.eps;
    runner_->update([&](int unit) { optimizer_->update(unit, index + 1, run_.optimizer.lr, clip); });
    runner_->await_parameters();
    result.updates = gather_tensors(world, allocator_, parameter_parts(store_, Extent::owned));
    for (auto& [name, values] : result.updates)
        for (size_t i = 0; i < values.size(); ++i) values[i] -= result.state.at(name)[i];
    for (const MoeLayer* moe : model_->moe_layers()) {
        const auto& counts = recorder.expert_counts[static_cast<size_t>(moe->moe_index())];
        const Tensor tensor = Tensor::zeros(allocator_, {moe->config().num_experts}, DType::i64);
        std::copy(counts.begin(), counts.end(), tensor.data<int64_t>());
        moe->finish_step(tensor);
    }
    result.buffers = gather_tensors(world, allocator_, buffer_parts(store_, Extent::owned));
    return result;
}

/// The root mean square of all elements.
double root_mean_square(const GlobalTensors& tensors) {
    double squares = 0, count = 0;
    for (const auto& [name, values] : tensors) {
        for (const double value : values) squares += value * value;
        count += static_cast<double>(values.size());
    }
    return std::sqrt(squares / std::max(count, 1.0));
}

/// Errors are divided by `amplification`, at least 1.
void compare_kind(const GlobalTensors& a, const GlobalTensors& b, size_t step, LayoutDifference& worst,
                  double amplification = 1) {
    const double floor = 1e-3 * root_mean_square(b);
    check(a.size() == b.size(), "{} and {} tensors are compared", a.size(), b.size());
    for (const auto& [name, expected] : b) {
        const std::vector<double>& found = a.at(name);
        check(found.size() == expected.size(), "{}: {} and {} elements are compared", name, found.size(),
              expected.size());
        double difference = 0, largest = floor;
        for (size_t i = 0; i < found.size(); ++i) {
            const double d = std::abs(found[i] - expected[i]);
            difference = d <= difference ? difference : d; // keeps NaN
            largest = std::max(largest, std::abs(expected[i]));
        }
        const double error = difference == 0 ? 0 : difference / largest / std::max(amplification, 1.0);
        if (!(error <= worst.error)) worst = {error, fmt::format("{}, step {}", name, step + 1)};
    }
}

void compare_number(double a, double b, const char* name, size_t step, LayoutDifference& worst) {
    const double error = a == b ? 0 : std::abs(a - b) / std::abs(b);
    if (!(error <= worst.error)) worst = {error, fmt::format("{}, step {}", name, step + 1)};
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
    agree(world, [&] { expect_layout_fits(run.model, make_grid(layout.sizes, world.size(), world.rank())); });
    LayoutRank rank(run, layout, world);
    std::vector<LayoutStep> steps;
    for (int64_t step = 0; step < run.steps; ++step)
        steps.push_back(rank.step(step, reference ? &reference->at(static_cast<size_t>(step)) : nullptr));
    return steps;
}

LayoutDifference compare(const std::vector<LayoutStep>& a, const std::vector<LayoutStep>& b) {
    LayoutDifference worst;
    check(a.size() == b.size(), "{} and {} steps are compared", a.size(), b.size());
    for (size_t s = 0; s < b.size(); ++s) {
        compare_number(a[s].loss, b[s].loss, "loss", s, worst);
        compare_number(a[s].aux_loss, b[s].aux_loss, "aux_loss", s, worst);
        compare_number(a[s].router_z_loss, b[s].router_z_loss, "router z-loss", s, worst);
        compare_number(a[s].grad_norm, b[s].grad_norm, "grad_norm", s, worst);
        for (size_t i = 0; i < std::max(a[s].worst_sequences.size(), b[s].worst_sequences.size()); ++i) {
            const SequenceLoss none{-1, 0};
            const auto at = [&](const LayoutStep& step) {
                return i < step.worst_sequences.size() ? step.worst_sequences[i] : none;
            };
            compare_number(static_cast<double>(at(a[s]).sample), static_cast<double>(at(b[s]).sample),
                           "worst sequence", s, worst);
            compare_number(at(a[s]).loss, at(b[s]).loss, "loss of the worst sequence", s, worst);
        }
        compare_kind(a[s].gradients, b[s].gradients, s, worst);
        const double updates = root_mean_square(b[s].updates);
        compare_kind(a[s].updates, b[s].updates, s, worst,
                     updates > 0 ? b[s].update_slope * root_mean_square(b[s].gradients) / updates : 1);
        compare_kind(a[s].buffers, b[s].buffers, s, worst);
    }
    return worst;
}

} // namespace braid

#include "trainer/training/trainer.h"

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <exception>
#include <optional>

#include "optim/gradient_norm.h"
#include "optim/lr_schedule.h"
#include "parallel/agreement.h"
#include "parallel/plan_check.h"
#include "tensor/cuda/runtime.h"
#include "tensor/memory/build_cuda.h"
#include "tensor/memory/host_wait.h"
#include "trainer/config/run_check.h"
#include "trainer/config/run_layout.h"
#include "trainer/training/update_norms.h"

namespace braid {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
    return std::chrono::duration<double>(Clock::now() - start).count();
}

/// The bytes that a rank has for its numbers, and where, for a message.
std::pair<double, std::string> memory_of_rank(Device device, int node_size) {
    if constexpr (kBuildCuda)
        if (device.kind == DeviceKind::cuda) {
            const auto free = static_cast<double>(cuda::device_info(device.index).free_bytes);
            return {free, fmt::format("{} has {:.1f} GiB free", to_string(device), free * 0x1p-30)};
        }
    const double machine =
        static_cast<double>(sysconf(_SC_PHYS_PAGES)) * static_cast<double>(sysconf(_SC_PAGESIZE));
    return {machine / node_size, fmt::format("this machine has {:.1f} GiB for each of its {} ranks",
                                             machine / node_size * 0x1p-30, node_size)};
}

/// A layout that does not fit is everybody's error, before anyone waits for another.
MeshSizes fitting_sizes(const RunConfig& config, Communicator& world) {
    agree(world, [&] { expect_run_starts(config, world.size()); });
    return mesh_sizes(config.parallel);
}

} // namespace

Trainer::Trainer(const RunConfig& config, Communicator& world, int node_size, const Stream& compute)
    : config_(config),
      world_(world),
      mesh_(world, fitting_sizes(config, world)),
      allocator_(compute),
      store_(mesh_.grid()) {
    const bool sharded = config_.parallel.zero > 0;
    agree(world_, [&] {
        model_ = std::make_unique<Model>(config_.model, store_);
        store_.freeze(config_.train.freeze);
        check_memory(node_size);
        open_data();
    });
    expect_same_everywhere(world_, loader_->fingerprint(), "the training data", ExitCode::data);
    agree(world_, [&] {
        store_.allocate(allocator_, config_.train.precision, true);
        store_.initialize(config_.seed);
        optimizer_ = make_optimizer(config_.optimizer, store_, mesh_, allocator_, sharded);
    });
    for (const ReductionGroup& group : reduction_groups(store_)) mesh_.prepare(group);
    prefetcher_ = std::make_unique<Prefetcher>(loader_);
    runner_ = std::make_unique<StepRunner>(*model_, store_, mesh_, allocator_,
                                           config_.train.recompute == Recompute::layers,
                                           GradientReducer::Options{config_.parallel.reduction, sharded});
    expect_same_plan();
}

Trainer::~Trainer() {
    // The last update's values may still travel between ranks, from and to memory that is about to go. While
    // an error unwinds, the job ends and others may be gone already.
    if (std::uncaught_exceptions() > 0) return;
    try {
        runner_->await_parameters();
    } catch (const Error&) {
        // Another rank has failed; it reports itself.
    }
}

ParameterStore& Trainer::store() {
    runner_->await_parameters();
    return store_;
}

/// A rank with another program would wait for messages that nobody sends.
void Trainer::expect_same_plan() {
    const std::vector<Action> plan = runner_->plan(1);
    std::string text = fmt::format("{} actions with hash {:016x}", plan.size(), plan_hash(plan));
    for (const Action& action : plan)
        if (action.kind == Action::Kind::update && optimizer_->exchanges(action.unit))
            text += fmt::format(", matrices of unit {}", action.unit);
    expect_same_everywhere(world_, text, "the plan of a step", ExitCode::communication);
}

void Trainer::check_memory(int node_size) const {
    // Values and gradients, and the optimizer's state of what is owned; activations and copies in bf16 come
    // on top, so what is refused here surely does not fit.
    const double owners = config_.parallel.zero > 0 ? mesh_.grid().data.size : 1;
    const double elements = 2 * static_cast<double>(store_.num_local_elements()) +
                            static_cast<double>(num_state_elements(config_.optimizer, store_)) / owners;
    const double needed =
        elements * static_cast<double>(size_of(accumulation_dtype(config_.train.precision)));
    const auto [available, where] = memory_of_rank(allocator_.device(), node_size);
    if (needed > available)
        throw ConfigError(
            "the model's {} parameters take {:.1f} GiB per rank with gradients and optimizer state, and {}",
            store_.num_elements(), needed * 0x1p-30, where);
}

void Trainer::open_data() {
    const LoaderOptions options{.sequence_length = config_.train.sequence_length,
                                .vocab_size = config_.model.vocab_size};
    try {
        loader_ = std::make_shared<TrainLoader>(config_.data, options);
        for (const auto& [name, set] : config_.data.validation)
            validation_[name] =
                std::make_shared<const ValidationLoader>(set.path, options, config_.eval.tokens);
    } catch (const DataError&) {
        find_run_faults(config_, world_.size()).raise(); // all files that are at fault, not the first only
        throw;
    }
}

double Trainer::idle_share() const {
    const EvenSplit split = batch_split();
    int64_t longest = 0;
    for (int rank = 0; rank < split.size; ++rank) longest = std::max(longest, split.length(rank));
    return 1 - static_cast<double>(split.count) / static_cast<double>(longest * split.size);
}

double Trainer::epochs(int k) const {
    return loader_->epochs(k, (config_.train.steps - position_.first_step) * config_.train.global_batch);
}

int64_t Trainer::num_micro_batches() const {
    const EvenSplit split = batch_split();
    const auto needed = [&](int rank) {
        return (split.length(rank) + config_.train.micro_batch - 1) / config_.train.micro_batch;
    };
    // Ranks that share experts work in step; those with fewer sequences run empty micro-batches.
    const RankGrid& grid = mesh_.grid();
    if (grid.expert.size * grid.expert_tensor.size == 1) return needed(data_rank());
    int64_t most = 0;
    for (int rank = 0; rank < split.size; ++rank) most = std::max(most, needed(rank));
    return most;
}

std::vector<MicroBatch> Trainer::load_micro_batches(const StopRequested& stop_requested) {
    const EvenSplit split = batch_split();
    const int64_t start = first_sample(step_) + split.first(data_rank());
    std::vector<MicroBatch> batches;
    agree(world_, [&] {
        const int64_t count = split.length(data_rank()), most = config_.train.micro_batch;
        for (int64_t at = 0; at < count; at += most) {
            batches.push_back(
                prefetcher_->micro_batch(start + at, std::min(most, count - at), stop_requested));
            expect_tokens_in_vocabulary(batches.back(), config_.model.vocab_size);
        }
    });
    batches.resize(static_cast<size_t>(num_micro_batches()), empty_micro_batch());
    return batches;
}

void Trainer::prefetch_next() {
    const EvenSplit split = batch_split();
    const int64_t start = first_sample(step_ + 1) + split.first(data_rank());
    const int64_t count = split.length(data_rank()), most = config_.train.micro_batch;
    for (int64_t at = 0; at < count; at += most)
        prefetcher_->prefetch(start + at, std::min(most, count - at));
}

StepReport Trainer::step(bool with_diagnostics, Profiler* profiler, const StopRequested& stop_requested) {
    const auto start = Clock::now();
    const int64_t waits = num_host_waits();
    const int64_t batch = config_.train.global_batch;
    StepReport report{.step = step_ + 1,
                      .lr = learning_rate(config_.optimizer, step_ + 1, config_.train.steps)};
    const std::vector<MicroBatch> batches = load_micro_batches(stop_requested);
    if (step_ + 1 < config_.train.steps) prefetch_next();
    report.valid_labels = loader_->num_valid_labels(first_sample(step_), batch);
    report.data_seconds = seconds_since(start);

    const StepTotals totals{report.valid_labels, batch * config_.train.sequence_length, batch};
    Recorder recorder(model_->moe_layers().size(), with_diagnostics);
    saying_when(fmt::format("step {}, nothing was updated", report.step), [&] {
        runner_->run(
            static_cast<int>(batches.size()),
            [&](int m) {
                Batch tensors = to_tensors(allocator_, batches[static_cast<size_t>(m)]);
                if (mesh_.grid().tensor.index == 0) // the ranks of one data rank share its operations
                    report.flops += 3 * model_->forward_flops(*tensors.documents);
                return tensors;
            },
            totals, recorder, profiler);
    });
    recorder.reduce(world_);
    all_reduce_sum(world_, std::span(&report.flops, 1));

    const double labels = static_cast<double>(std::max<int64_t>(report.valid_labels, 1));
    report.loss = recorder.cross_entropy / labels;
    report.z_loss = recorder.head_z / labels * model_->head_z_weight() + recorder.router_z_loss;
    report.aux_loss = recorder.aux_loss;
    report.expert_counts = recorder.expert_counts;
    report.worst_sequences = recorder.worst_sequences();
    report.diagnostics = recorder.diagnostics();
    update(report);
    runner_->finish_routers(recorder);
    ++step_;
    tokens_ += report.valid_labels;
    report.communication_seconds =
        runner_->take_exposed_communication_seconds() + optimizer_->take_exposed_seconds();
    report.step_seconds = seconds_since(start);
    report.host_waits = num_host_waits() - waits;
    return report;
}

void Trainer::saying_when(const std::string& when, const std::function<void()>& body) {
    try {
        body();
    } catch (const AgreedError& error) {
        runner_->await_parameters(); // under way on all ranks alike, from the last update
        throw AgreedError(error.exit_code(), when + ": " + error.what());
    }
}

void Trainer::update(StepReport& report) {
    double squares = gradient_sum_of_squares(store_);
    all_reduce_sum(world_, std::span(&squares, 1));
    report.grad_norm = std::sqrt(squares);
    expect_finite(report);
    const double scale = clip_factor(report.grad_norm, config_.optimizer.clip);
    std::optional<UpdateNorms> norms;
    if (!report.diagnostics.empty()) norms.emplace(store_, allocator_);
    runner_->update([&](int unit) {
        if (norms) norms->before(unit);
        optimizer_->update(unit, report.step, report.lr, scale);
        if (norms) norms->after(unit);
    });
    if (!norms) return;
    const auto ratios = norms->ratios(world_);
    for (const auto& block : model_->blocks()) {
        const auto found = ratios.find({block->site().layer, block->site().sublayer});
        report.diagnostics[{block->site(), "update_ratio"}] = {Recorder::Kind::mean,
                                                               found == ratios.end() ? 0 : found->second, 1};
    }
}

void Trainer::expect_finite(const StepReport& report) {
    if (std::isfinite(report.loss) && std::isfinite(report.grad_norm)) return;
    std::string culprit; // of the lowest rank that has one, on all ranks
    for (const std::string& found : all_gather_text(world_, first_non_finite_gradient(store_)))
        if (culprit.empty()) culprit = found;
    throw AgreedError(
        ExitCode::non_finite,
        fmt::format("step {}: loss {}, gradient norm {}{}; nothing was updated", report.step, report.loss,
                    report.grad_norm, culprit.empty() ? "" : ", first in the gradient of " + culprit));
}

std::map<std::string, Evaluation> Trainer::evaluate(const StopRequested& stop_requested) {
    std::map<std::string, Evaluation> results;
    runner_->await_parameters();
    saying_when(fmt::format("evaluation after step {}", step_), [&] {
        for (const auto& [name, data] : validation_)
            results[name] =
                braid::evaluate(*model_, allocator_, mesh_, data, config_.train.micro_batch, stop_requested);
    });
    return results;
}

} // namespace braid

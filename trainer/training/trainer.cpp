#include "trainer/training/trainer.h"

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cmath>
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
#include "trainer/training/continuation.h"
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
TrainingRank::Options options_of(const RunConfig& config, Communicator& world) {
    agree(world, [&] { expect_run_starts(config, world.size()); });
    const TrainConfig& train = config.train;
    return {.parallel = config.parallel,
            .global_batch = train.global_batch,
            .micro_batch = train.micro_batch,
            .sequence_length = train.sequence_length,
            .precision = train.precision,
            .recompute = train.recompute == Recompute::layers};
}

} // namespace

Trainer::Trainer(const RunConfig& config, Communicator& world, int node_size, const Stream& compute)
    : config_(config),
      world_(world),
      rank_(config.model, config.train.freeze, world, options_of(config, world), compute) {
    agree(world_, [&] {
        check_memory(node_size);
        open_data();
    });
    expect_same_everywhere(world_, loader_->fingerprint(), "the training data", ExitCode::data);
    for (const auto& [name, task] : tasks_)
        expect_same_everywhere(world_, task.fingerprint(), "eval.tasks." + name, ExitCode::data);
    rank_.allocate(config_.optimizer, config_.seed);
    prefetcher_ = std::make_unique<Prefetcher>(loader_);
    expect_plans_end();
}

ParameterStore& Trainer::store() {
    rank_.runner().await_parameters();
    return rank_.store();
}

/// A rank with another program would wait for messages that nobody sends.
void Trainer::expect_plans_end() {
    const std::vector<ReductionGroup> groups = reduction_groups(rank_.store());
    RankProgram program;
    for (const Action& action : rank_.runner().plan(1)) {
        const bool exchanges =
            action.kind == Action::Kind::update && rank_.optimizer().exchanges(action.unit);
        const std::string collective =
            exchanges ? fmt::format("exchange of matrices of unit {}", action.unit) : collective_of(action);
        if (collective.empty()) continue;
        for (const Bucket& bucket : rank_.store().units()[static_cast<size_t>(action.unit)]->buckets) {
            const auto group = std::find(groups.begin(), groups.end(), bucket.group) - groups.begin();
            program.emplace_back(static_cast<int>(group), collective);
        }
    }
    expect_programs_end(world_, program, [&](int group, int rank) {
        return rank_.mesh().members(groups.at(static_cast<size_t>(group)), rank);
    });
}

void Trainer::check_memory(int node_size) const {
    // Values and gradients, and the optimizer's state of what is owned; activations and copies in bf16 come
    // on top, so what is refused here surely does not fit.
    const double owners = config_.parallel.zero > 0 ? rank_.mesh().grid().data.size : 1;
    const double elements =
        2 * static_cast<double>(rank_.store().num_local_elements()) +
        static_cast<double>(num_state_elements(config_.optimizer, rank_.store())) / owners;
    const double needed =
        elements * static_cast<double>(size_of(accumulation_dtype(config_.train.precision)));
    const auto [available, where] = memory_of_rank(rank_.allocator().device(), node_size);
    if (needed > available)
        throw ConfigError(
            "the model's {} parameters take {:.1f} GiB per rank with gradients and optimizer state, and {}",
            rank_.store().num_elements(), needed * 0x1p-30, where);
}

void Trainer::open_data() {
    const LoaderOptions options{.sequence_length = config_.train.sequence_length,
                                .vocab_size = config_.model.vocab_size};
    try {
        loader_ = std::make_shared<TrainLoader>(config_.data, options);
        apply_position(position_, config_, *loader_, "");
        for (const auto& [name, set] : config_.data.validation)
            validation_[name] =
                std::make_shared<const ValidationLoader>(set.path, options, config_.eval.tokens);
        open_tasks();
    } catch (const DataError&) {
        find_run_faults(config_, world_.size()).raise(); // all files that are at fault, not the first only
        throw;
    }
}

void Trainer::open_tasks() {
    if (config_.eval.tasks.empty() && config_.eval.prompts.empty()) return;
    tokenizer_ = make_tokenizer(loader_->source(0).summary().tokenizer);
    for (const auto& [name, task] : config_.eval.tasks)
        tasks_.try_emplace(name, task.path, *tokenizer_, task_options(config_, task));
}

double Trainer::idle_share() const {
    const EvenSplit split = rank_.batch_split();
    int64_t longest = 0;
    for (int rank = 0; rank < split.size; ++rank) longest = std::max(longest, split.length(rank));
    return 1 - static_cast<double>(split.count) / static_cast<double>(longest * split.size);
}

double Trainer::epochs(int k) const {
    return loader_->epochs(k, (config_.train.steps - position_.first_step) * config_.train.global_batch);
}

std::vector<MicroBatch> Trainer::load_micro_batches(const StopRequested& stop_requested) {
    return rank_.load(first_sample(step_), [&](int64_t first, int64_t count) {
        MicroBatch batch = prefetcher_->micro_batch(first, count, stop_requested);
        expect_tokens_in_vocabulary(batch, config_.model.vocab_size);
        return batch;
    });
}

void Trainer::prefetch_next() {
    rank_.for_each_micro_batch(first_sample(step_ + 1),
                               [&](int64_t first, int64_t count) { prefetcher_->prefetch(first, count); });
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

    Recorder recorder(rank_.model().moe_layers().size(), with_diagnostics);
    saying_when(fmt::format("step {}, nothing was updated", report.step), [&] {
        const StepLosses losses = rank_.compute(batches, report.valid_labels, recorder, profiler);
        report.loss = losses.loss;
        report.aux_loss = losses.aux_loss;
        report.z_loss = losses.head_z_loss + losses.router_z_loss;
        report.flops = losses.flops;
    });
    report.expert_counts = recorder.expert_counts;
    report.worst_sequences = recorder.worst_sequences();
    report.diagnostics = recorder.diagnostics();
    update(report);
    rank_.runner().finish_routers(recorder);
    ++step_;
    tokens_ += report.valid_labels;
    report.communication_seconds =
        rank_.runner().take_exposed_communication_seconds() + rank_.optimizer().take_exposed_seconds();
    report.step_seconds = seconds_since(start);
    report.host_waits = num_host_waits() - waits;
    return report;
}

void Trainer::saying_when(const std::string& when, const std::function<void()>& body) {
    try {
        body();
    } catch (const AgreedError& error) {
        rank_.runner().await_parameters(); // under way on all ranks alike, from the last update
        throw AgreedError(error.exit_code(), when + ": " + error.what());
    }
}

void Trainer::update(StepReport& report) {
    report.grad_norm = rank_.gradient_norm();
    expect_finite(report);
    const double scale = clip_factor(report.grad_norm, config_.optimizer.clip);
    std::optional<UpdateNorms> norms;
    if (!report.diagnostics.empty()) norms.emplace(rank_.store(), rank_.allocator());
    rank_.update(rank_.optimizer(), report.step, report.lr, scale,
                 [&](int unit, const std::function<void()>& run) {
                     if (norms) norms->before(unit);
                     run();
                     if (norms) norms->after(unit);
                 });
    if (!norms) return;
    const auto ratios = norms->ratios(world_);
    for (const auto& block : rank_.model().blocks()) {
        const auto found = ratios.find({block->site().layer, block->site().sublayer});
        report.diagnostics[{block->site(), "update_ratio"}] = {Recorder::Kind::mean,
                                                               found == ratios.end() ? 0 : found->second, 1};
    }
}

void Trainer::expect_finite(const StepReport& report) {
    if (std::isfinite(report.loss) && std::isfinite(report.grad_norm)) return;
    std::string culprit; // of the lowest rank that has one, on all ranks
    for (const std::string& found : all_gather_text(world_, first_non_finite_gradient(rank_.store())))
        if (culprit.empty()) culprit = found;
    throw AgreedError(
        ExitCode::non_finite,
        fmt::format("step {}: loss {}, gradient norm {}{}; nothing was updated", report.step, report.loss,
                    report.grad_norm, culprit.empty() ? "" : ", first in the gradient of " + culprit));
}

Evaluations Trainer::evaluate(const StopRequested& stop_requested) {
    Evaluations results;
    rank_.runner().await_parameters();
    saying_when(fmt::format("evaluation after step {}", step_), [&] {
        for (const auto& [name, data] : validation_)
            results.sets[name] = braid::evaluate(rank_.model(), rank_.allocator(), rank_.mesh(), data,
                                                 config_.train.micro_batch, stop_requested);
        for (const auto& [name, task] : tasks_)
            results.tasks[name] =
                braid::evaluate(rank_.model(), rank_.allocator(), rank_.mesh(), task, stop_requested);
        if (config_.eval.prompts.empty()) return;
        const ContinuationOptions options{.tokens = config_.eval.prompt_tokens,
                                          .temperature = config_.eval.prompt_temperature,
                                          .seed = config_.seed};
        const std::vector<std::string> texts =
            continue_texts(rank_.model(), rank_.allocator(), rank_.mesh(), *tokenizer_, config_.eval.prompts,
                           options, stop_requested);
        for (size_t p = 0; p < texts.size(); ++p)
            results.samples.push_back({config_.eval.prompts[p], texts[p]});
    });
    return results;
}

} // namespace braid

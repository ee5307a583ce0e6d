#include "trainer/trainer.h"

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstring>

#include "optim/gradient_norm.h"
#include "optim/lr_schedule.h"
#include "parallel/agreement.h"
#include "parallel/plan_check.h"
#include "trainer/training_state.h"

namespace braid {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
    return std::chrono::duration<double>(Clock::now() - start).count();
}

bool uses_batch_scope(const Model& model) {
    return std::any_of(model.moe_layers().begin(), model.moe_layers().end(), [](const MoeLayer* moe) {
        const RouterConfig& router = moe->config().router;
        return router.aux_loss > 0 && router.aux_scope == AuxScope::batch;
    });
}

} // namespace

Trainer::Trainer(const RunConfig& config, Communicator& world, int node_size)
    : config_(config), world_(world), data_group_(world.split(0, world.rank(), "data")) {
    agree(world_, [&] {
        model_ = std::make_unique<Model>(config_.model, store_);
        check_layout();
        check_memory(node_size);
        open_data();
    });
    expect_same_everywhere(world_, loader_->fingerprint(), "the training data", ExitCode::data);
    agree(world_, [&] {
        store_.allocate(allocator_, config_.train.precision, true);
        store_.initialize(config_.seed);
        optimizer_ = make_optimizer(config_.optimizer, store_, allocator_);
        runner_ = std::make_unique<StepRunner>(*model_, store_, *data_group_, allocator_,
                                               config_.train.recompute == Recompute::layers,
                                               config_.parallel.reduction);
    });
    expect_same_plan();
}

/// A rank with another program would wait for messages that nobody sends.
void Trainer::expect_same_plan() {
    const std::vector<Action> plan = runner_->plan(1);
    expect_same_everywhere(*data_group_,
                           fmt::format("{} actions with hash {:016x}", plan.size(), plan_hash(plan)),
                           "the plan of a step", ExitCode::communication);
}

void Trainer::check_layout() const {
    const int64_t ranks = world_.size(), batch = config_.train.global_batch;
    if (config_.parallel.data != 0 && config_.parallel.data != ranks)
        throw ConfigError("parallel.data: expected the number of ranks, {}, or auto, found {}", ranks,
                          config_.parallel.data);
    if (ranks > batch)
        throw ConfigError(
            "train.global_batch: {} sequences cannot feed {} data ranks; use at most {} ranks or a "
            "global_batch "
            "of at least {}",
            batch, ranks, batch, ranks);
    if (uses_batch_scope(*model_) && (batch % ranks != 0 || batch / ranks > config_.train.micro_batch))
        throw ConfigError(
            "router.aux_scope: batch balances over one step's batch in one piece, so global_batch / ranks "
            "must be "
            "whole and at most micro_batch; found {} / {} and micro_batch {}; use aux_scope: sequence or "
            "global",
            batch, ranks, config_.train.micro_batch);
}

void Trainer::check_memory(int node_size) const {
    // Values, gradients and two moments; activations come on top, so what is refused here surely does not
    // fit.
    const double needed = 4.0 * static_cast<double>(store_.num_elements()) *
                          static_cast<double>(size_of(config_.train.precision));
    const double machine =
        static_cast<double>(sysconf(_SC_PHYS_PAGES)) * static_cast<double>(sysconf(_SC_PAGESIZE));
    if (needed > machine / node_size)
        throw ConfigError(
            "the model's {} parameters take {:.1f} GiB per rank with gradients and optimizer state, and this "
            "machine has {:.1f} GiB for each of its {} ranks",
            store_.num_elements(), needed * 0x1p-30, machine / node_size * 0x1p-30, node_size);
}

void Trainer::open_data() {
    const LoaderOptions options{.sequence_length = config_.train.sequence_length,
                                .vocab_size = config_.model.vocab_size};
    loader_ = std::make_unique<TrainLoader>(config_.data, options);
    for (const auto& [name, set] : config_.data.validation)
        validation_[name] = std::make_unique<ValidationLoader>(set.path, options, config_.eval.tokens);
}

double Trainer::idle_share() const {
    const EvenSplit split = batch_split();
    int64_t longest = 0;
    for (int rank = 0; rank < split.size; ++rank) longest = std::max(longest, split.length(rank));
    return 1 - static_cast<double>(split.count) / static_cast<double>(longest * split.size);
}

std::vector<MicroBatch> Trainer::load_micro_batches() {
    const EvenSplit split = batch_split();
    const int64_t start = step_ * config_.train.global_batch + split.first(world_.rank());
    std::vector<MicroBatch> batches;
    agree(world_, [&] {
        const int64_t count = split.length(world_.rank()), most = config_.train.micro_batch;
        for (int64_t at = 0; at < count; at += most)
            batches.push_back(loader_->micro_batch(start + at, std::min(most, count - at)));
    });
    return batches;
}

void Trainer::prefetch_next() {
    const EvenSplit split = batch_split();
    const int64_t start = (step_ + 1) * config_.train.global_batch + split.first(world_.rank());
    const int64_t count = split.length(world_.rank()), most = config_.train.micro_batch;
    for (int64_t at = 0; at < count; at += most) loader_->prefetch(start + at, std::min(most, count - at));
}

StepReport Trainer::step(bool with_diagnostics, Profiler* profiler) {
    const auto start = Clock::now();
    const int64_t batch = config_.train.global_batch, first_sample = step_ * batch;
    StepReport report{.step = step_ + 1,
                      .lr = learning_rate(config_.optimizer, step_ + 1, config_.train.steps)};
    const std::vector<MicroBatch> batches = load_micro_batches();
    if (step_ + 1 < config_.train.steps) prefetch_next();
    report.valid_labels = loader_->num_valid_labels(first_sample, batch);
    report.data_seconds = seconds_since(start);

    const StepTotals totals{report.valid_labels, batch * config_.train.sequence_length, batch};
    Recorder recorder(model_->moe_layers().size(), with_diagnostics);
    runner_->run(
        static_cast<int>(batches.size()),
        [&](int m) {
            Batch tensors = to_tensors(allocator_, batches[static_cast<size_t>(m)]);
            report.flops += 3 * model_->forward_flops(*tensors.documents);
            return tensors;
        },
        totals, recorder, profiler);
    recorder.reduce(world_);
    all_reduce_sum(world_, std::span(&report.flops, 1));
    report.communication_seconds = runner_->exposed_communication_seconds();

    const double labels = static_cast<double>(std::max<int64_t>(report.valid_labels, 1));
    report.loss = recorder.cross_entropy / labels;
    report.z_loss = recorder.head_z / labels * model_->head_z_weight() + recorder.router_z_loss;
    report.aux_loss = recorder.aux_loss;
    report.expert_counts = recorder.expert_counts;
    report.diagnostics = recorder.diagnostics();
    update(report);
    finish_routers(recorder);
    ++step_;
    tokens_ += report.valid_labels;
    report.step_seconds = seconds_since(start);
    return report;
}

void Trainer::update(StepReport& report) {
    // Gradients are the same bits on all ranks here, so every rank takes the same decisions.
    report.grad_norm = std::sqrt(gradient_sum_of_squares(store_));
    expect_finite(report);
    Values before;
    if (!report.diagnostics.empty())
        for (const auto& unit : store_.units()) {
            before.push_back(Tensor::empty(allocator_, unit->values.shape(), unit->values.dtype()));
            std::copy_n(static_cast<const std::byte*>(unit->values.raw_data()), unit->values.bytes(),
                        static_cast<std::byte*>(before.back().raw_data()));
        }
    const double scale = clip_factor(report.grad_norm, config_.optimizer.clip);
    for (size_t unit = 0; unit < store_.units().size(); ++unit)
        optimizer_->update(static_cast<int>(unit), 0, store_.units()[unit]->numel, report.step, report.lr,
                           scale);
    if (!before.empty()) record_updates(before, report);
}

void Trainer::expect_finite(const StepReport& report) {
    if (std::isfinite(report.loss) && std::isfinite(report.grad_norm)) return;
    const std::string culprit = first_non_finite_gradient(store_);
    throw AgreedError(
        ExitCode::non_finite,
        fmt::format("step {}: loss {}, gradient norm {}{}; nothing was updated", report.step, report.loss,
                    report.grad_norm, culprit.empty() ? "" : ", first in the gradient of " + culprit));
}

void Trainer::record_updates(const Values& before, StepReport& report) const {
    struct Squares {
        double update = 0, value = 0;
    };
    std::map<std::pair<int, std::string>, Squares> sums; // by layer and sublayer
    for (size_t u = 0; u < before.size(); ++u)
        for (const Parameter* parameter : store_.units()[u]->parameters)
            for (const auto& section : parameter->sections())
                dispatch_float(store_.dtype(), [&]<typename T>() {
                    Squares& squares = sums[{section.spec.layer, section.spec.sublayer}];
                    const T* old_values = before[u].data<T>() + section.unit_offset;
                    const T* values = store_.units()[u]->values.template data<T>() + section.unit_offset;
                    for (int64_t i = 0; i < section.spec.shape.numel(); ++i) {
                        const double old_value = static_cast<double>(old_values[i]);
                        const double change = static_cast<double>(values[i]) - old_value;
                        squares.update += change * change;
                        squares.value += old_value * old_value;
                    }
                });
    for (const auto& block : model_->blocks()) {
        const Squares& s = sums[{block->site().layer, block->site().sublayer}];
        report.diagnostics[{block->site(), "update_ratio"}] = {
            Recorder::Kind::mean, s.value > 0 ? std::sqrt(s.update / s.value) : 0, 1};
    }
}

void Trainer::finish_routers(const Recorder& recorder) {
    for (const MoeLayer* moe : model_->moe_layers()) {
        const auto& counts = recorder.expert_counts[static_cast<size_t>(moe->moe_index())];
        Tensor tensor = Tensor::zeros(allocator_, {moe->config().num_experts}, DType::i64);
        std::copy(counts.begin(), counts.end(), tensor.data<int64_t>());
        moe->finish_step(tensor);
    }
}

std::map<std::string, Evaluation> Trainer::evaluate() {
    std::map<std::string, Evaluation> results;
    for (const auto& [name, data] : validation_)
        results[name] = braid::evaluate(*model_, allocator_, world_, *data, config_.train.micro_batch);
    return results;
}

std::vector<NamedTensor> Trainer::state() {
    std::vector<NamedTensor> tensors = model_state(store_);
    optimizer_->visit_state([&](const std::string& name, int unit, const Tensor& flat) {
        for (const Parameter* parameter : store_.unit(unit).parameters)
            for (const auto& section : parameter->sections()) {
                const ParameterSpec& spec = section.spec;
                tensors.push_back({{fmt::format("optimizer/{}/{}", name, spec.name), TensorKind::optimizer,
                                    flat.dtype(), spec.shape},
                                   flat.rows(section.unit_offset, spec.shape.numel()).view(spec.shape)});
            }
    });
    return tensors;
}

void Trainer::expect_equal_replicas() {
    // A sum of the bits as integers: exact in any order, and a single flipped bit changes it.
    uint64_t sum = 0;
    for (const NamedTensor& tensor : state()) {
        const auto* bytes = static_cast<const std::byte*>(tensor.value.raw_data());
        uint64_t part = stable_hash(tensor.info.name);
        for (size_t i = 0; i + 4 <= tensor.value.bytes(); i += 4) {
            uint32_t word;
            std::memcpy(&word, bytes + i, 4);
            part += (word ^ static_cast<uint64_t>(i)) * 0x9e3779b97f4a7c15u;
        }
        sum = sum * 31 + part;
    }
    expect_same_everywhere(world_, fmt::format("hash {:016x}", sum),
                           fmt::format("step {}: the training state", step_), ExitCode::replicas_disagree);
}

void Trainer::save(const std::string& checkpoints_folder) {
    expect_equal_replicas();
    TrainingState training{.step = step_, .sample = step_ * config_.train.global_batch, .tokens = tokens_};
    store_data_identity(training, *loader_);
    const auto tensors = state();
    const auto pieces = pieces_of_rank(tensors, world_.rank(), world_.size());
    const CheckpointContent content{training, to_yaml(config_), {world_.size(), {{"data", world_.size()}}}};
    save_checkpoint(checkpoints_folder, pieces, content, world_.rank(),
                    [&](const std::string& text) { return all_gather_text(world_, text); },
                    {.keep = config_.checkpoint.keep});
}

void Trainer::load(const std::string& checkpoint) {
    agree(world_, [&] {
        const CheckpointReader reader = CheckpointReader::open(checkpoint);
        const TrainingState& training = reader.manifest().training;
        expect_same_data(training, *loader_, checkpoint);
        const int64_t batch = config_.train.global_batch;
        if (training.sample != training.step * batch)
            throw CheckpointError("{}: holds {} samples after {} steps, expected {} (train.global_batch {})",
                                  checkpoint, training.sample, training.step, training.step * batch, batch);
        const TensorKind kinds[] = {TensorKind::parameter, TensorKind::optimizer, TensorKind::buffer};
        load_state(reader, state(), kinds);
        step_ = training.step;
        tokens_ = training.tokens;
    });
    expect_equal_replicas();
}

} // namespace braid

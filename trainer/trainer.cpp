#include "trainer/trainer.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <cstring>
#include <exception>

#include "optim/gradient_norm.h"
#include "optim/lr_schedule.h"
#include "parallel/agreement.h"
#include "parallel/plan_check.h"
#include "trainer/run_check.h"
#include "trainer/run_layout.h"
#include "trainer/training_state.h"

namespace braid {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
    return std::chrono::duration<double>(Clock::now() - start).count();
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
    try {
        loader_ = std::make_unique<TrainLoader>(config_.data, options);
        for (const auto& [name, set] : config_.data.validation)
            validation_[name] = std::make_unique<ValidationLoader>(set.path, options, config_.eval.tokens);
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

std::vector<MicroBatch> Trainer::load_micro_batches() {
    const EvenSplit split = batch_split();
    const int64_t start = step_ * config_.train.global_batch + split.first(data_rank());
    std::vector<MicroBatch> batches;
    agree(world_, [&] {
        const int64_t count = split.length(data_rank()), most = config_.train.micro_batch;
        for (int64_t at = 0; at < count; at += most) {
            batches.push_back(loader_->micro_batch(start + at, std::min(most, count - at)));
            expect_tokens_in_vocabulary(batches.back(), config_.model.vocab_size);
        }
    });
    batches.resize(static_cast<size_t>(num_micro_batches()), empty_micro_batch());
    return batches;
}

void Trainer::prefetch_next() {
    const EvenSplit split = batch_split();
    const int64_t start = (step_ + 1) * config_.train.global_batch + split.first(data_rank());
    const int64_t count = split.length(data_rank()), most = config_.train.micro_batch;
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
    Values before;
    if (!report.diagnostics.empty())
        for (const auto& unit : store_.units()) {
            before.push_back(Tensor::empty(allocator_, unit->values.shape(), unit->values.dtype()));
            copy(unit->values, before.back());
        }
    const double scale = clip_factor(report.grad_norm, config_.optimizer.clip);
    runner_->update([&](int unit) { optimizer_->update(unit, report.step, report.lr, scale); });
    if (!before.empty()) record_updates(before, report);
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

void Trainer::record_updates(const Values& before, StepReport& report) const {
    // Squares of updates and values by layer and sublayer, each element on the rank that owns it.
    std::map<std::pair<int, std::string>, std::array<double, 2>> sums;
    Allocator host;
    for (size_t u = 0; u < before.size(); ++u) {
        const Tensor old_unit = to_device(host, before[u]),
                     new_unit = to_device(host, store_.units()[u]->values);
        for (const Parameter* parameter : store_.units()[u]->parameters)
            for (const auto& section : parameter->sections()) {
                auto& squares = sums[{section.spec.layer, section.spec.sublayer}];
                for (const Bucket& bucket : store_.units()[u]->buckets) {
                    if (!bucket.counted) continue;
                    const FlatRange owned = store_.owned_range(bucket);
                    const int64_t first = std::max(owned.first, section.unit_offset);
                    const int64_t last = std::min(owned.last, section.unit_offset + section.numel());
                    dispatch_float(store_.dtype(), [&]<typename T>() {
                        const T* old_values = old_unit.data<T>();
                        const T* values = new_unit.data<T>();
                        for (int64_t i = first; i < last; ++i) {
                            const double old_value = static_cast<double>(old_values[i]);
                            const double change = static_cast<double>(values[i]) - old_value;
                            squares[0] += change * change;
                            squares[1] += old_value * old_value;
                        }
                    });
                }
            }
    }
    std::vector<double> flat; // every rank has the same keys in the same order
    for (const auto& [site, squares] : sums) flat.insert(flat.end(), squares.begin(), squares.end());
    all_reduce_sum(world_, std::span(flat));
    auto next = flat.begin();
    for (auto& [site, squares] : sums) {
        squares = {next[0], next[1]};
        next += 2;
    }
    for (const auto& block : model_->blocks()) {
        const auto& [update, value] = sums[{block->site().layer, block->site().sublayer}];
        report.diagnostics[{block->site(), "update_ratio"}] = {Recorder::Kind::mean,
                                                               value > 0 ? std::sqrt(update / value) : 0, 1};
    }
}

std::map<std::string, Evaluation> Trainer::evaluate(const std::function<bool()>& stop_requested) {
    std::map<std::string, Evaluation> results;
    runner_->await_parameters();
    saying_when(fmt::format("evaluation after step {}", step_), [&] {
        for (const auto& [name, data] : validation_)
            results[name] =
                braid::evaluate(*model_, allocator_, mesh_, *data, config_.train.micro_batch, stop_requested);
    });
    return results;
}

std::vector<StatePart> Trainer::state(Extent extent) const {
    std::vector<StatePart> parts = parameter_parts(store_, extent);
    for (auto& more : {optimizer_parts(store_, *optimizer_, extent), buffer_parts(store_, extent)})
        parts.insert(parts.end(), more.begin(), more.end());
    return parts;
}

uint64_t Trainer::replica_hash(const ReductionGroup& group) const {
    // A sum of the bits as integers: exact in any order, and a single flipped bit changes it.
    uint64_t sum = 0;
    Allocator host;
    const auto add = [&](const Tensor& tensor, int64_t first, int64_t last) {
        const Tensor part = to_device(host, tensor.rows(first, last - first));
        const auto* bytes = static_cast<const std::byte*>(part.raw_data());
        for (size_t i = 0; i + 4 <= part.bytes(); i += 4) {
            uint32_t word;
            std::memcpy(&word, bytes + i, 4);
            sum += (word ^ static_cast<uint64_t>(i)) * 0x9e3779b97f4a7c15u;
        }
        sum = sum * 31 + 1;
    };
    for (const auto& unit : store_.units())
        for (const Bucket& bucket : unit->buckets)
            if (bucket.group == group) add(unit->values, bucket.first, bucket.first + bucket.numel);
    if (config_.parallel.zero > 0) return sum; // each rank has moments of its own
    optimizer_->visit_state([&](const std::string&, int unit, const FlatRange& held, const Tensor& state) {
        for (const Bucket& bucket : store_.units()[static_cast<size_t>(unit)]->buckets)
            if (bucket.group == group) {
                const int64_t first = std::max(bucket.first, held.first),
                              last = std::min(bucket.first + bucket.numel, held.last);
                if (first < last) add(state, first - held.first, last - held.first);
            }
    });
    return sum;
}

void Trainer::expect_equal_replicas() {
    // One line per reduction group: who holds the same elements, and what they hold. All ranks see all lines,
    // so that all end together.
    const RankGrid& grid = mesh_.grid();
    std::string mine;
    for (const ReductionGroup& group : reduction_groups(store_)) {
        const int holders = group.expert
                                ? grid.expert.index * grid.expert_tensor.size + grid.expert_tensor.index
                                : grid.tensor.index / group.replicas;
        mine += fmt::format("{} {} {} {:016x}\n", group.expert, group.replicas, holders, replica_hash(group));
    }
    uint64_t buffers = 0;
    Allocator host;
    for (const StatePart& part : buffer_parts(store_, Extent::held)) {
        const Tensor values = to_device(host, part.storage);
        buffers = buffers * 31 + stable_hash({static_cast<const char*>(values.raw_data()), values.bytes()});
    }
    mine += fmt::format("buffers of all ranks {:016x}\n", buffers);
    std::map<std::string, std::pair<std::string, int>>
        seen; // what each kind of holder holds, and who said so
    const std::vector<std::string> all = all_gather_text(world_, mine);
    for (size_t rank = 0; rank < all.size(); ++rank)
        for (size_t start = 0, end; (end = all[rank].find('\n', start)) != std::string::npos;
             start = end + 1) {
            const std::string line = all[rank].substr(start, end - start);
            const size_t space = line.rfind(' ');
            const auto [first, is_new] =
                seen.try_emplace(line.substr(0, space), line.substr(space + 1), static_cast<int>(rank));
            if (is_new || first->second.first == line.substr(space + 1)) continue;
            throw AgreedError(
                ExitCode::replicas_disagree,
                fmt::format("step {}: the training state differs between rank {} (hash {}) and rank {} (hash "
                            "{}), which should hold the same",
                            step_, first->second.second, first->second.first, rank, line.substr(space + 1)));
        }
}

void Trainer::save(const std::string& checkpoints_folder) {
    runner_->await_parameters();
    expect_equal_replicas();
    TrainingState training{.step = step_, .sample = step_ * config_.train.global_batch, .tokens = tokens_};
    store_data_identity(training, *loader_);
    Allocator host;
    std::vector<TensorPiece> pieces;
    for (const StatePart& part : state(Extent::owned)) pieces.push_back(to_piece(host, part));
    const RankGrid& grid = mesh_.grid();
    const CheckpointContent content{training,
                                    to_yaml(config_),
                                    {world_.size(),
                                     {{"data", grid.data.size},
                                      {"tensor", grid.tensor.size},
                                      {"expert", grid.expert.size},
                                      {"expert_tensor", grid.expert_tensor.size}}}};
    save_checkpoint(checkpoints_folder, pieces, content, world_.rank(),
                    [&](const std::string& text) { return all_gather_text(world_, text); },
                    {.keep = config_.checkpoint.keep});
}

void Trainer::load(const std::string& checkpoint) {
    runner_->await_parameters();
    agree(world_, [&] {
        const CheckpointReader reader = CheckpointReader::open(checkpoint);
        const TrainingState& training = reader.manifest().training;
        loader_->set_order(stored_data_order(training, checkpoint));
        expect_same_data(training, *loader_, checkpoint);
        const int64_t batch = config_.train.global_batch;
        if (training.sample != training.step * batch)
            throw CheckpointError("{}: holds {} samples after {} steps, expected {} (train.global_batch {})",
                                  checkpoint, training.sample, training.step, training.step * batch, batch);
        const TensorKind kinds[] = {TensorKind::parameter, TensorKind::optimizer, TensorKind::buffer};
        reader.expect(state_tensors(store_, optimizer_.get()), kinds);
        Allocator host;
        for (const StatePart& part : state(Extent::held)) read_part(host, reader, part);
        store_.values_changed();
        step_ = training.step;
        tokens_ = training.tokens;
    });
    expect_equal_replicas();
}

} // namespace braid

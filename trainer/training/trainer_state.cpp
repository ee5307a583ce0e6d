// What a Trainer saves, and how it goes on from a checkpoint.

#include <cstring>
#include <set>

#include "base/first_few.h"
#include "parallel/agreement.h"
#include "trainer/checkpoint/stored_config.h"
#include "trainer/checkpoint/training_state.h"
#include "trainer/start/resume.h"
#include "trainer/start/start_state.h"
#include "trainer/training/trainer.h"

namespace braid {

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
    for (const auto& unit : rank_.store().units())
        for (const Bucket& bucket : unit->buckets)
            if (bucket.group == group) add(unit->values, bucket.first, bucket.first + bucket.numel);
    if (config_.parallel.zero > 0) return sum; // each rank has moments of its own
    rank_.optimizer().visit_state(
        [&](const std::string&, int unit, const FlatRange& held, const Tensor& state) {
            for (const Bucket& bucket : rank_.store().units()[static_cast<size_t>(unit)]->buckets)
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
    const RankGrid& grid = rank_.mesh().grid();
    std::string mine;
    for (const ReductionGroup& group : reduction_groups(rank_.store())) {
        const int holders = group.expert
                                ? grid.expert.index * grid.expert_tensor.size + grid.expert_tensor.index
                                : grid.tensor.index / group.replicas;
        mine += fmt::format("{} {} {} {:016x}\n", group.expert, group.replicas, holders, replica_hash(group));
    }
    uint64_t buffers = 0;
    Allocator host;
    for (const StatePart& part : buffer_parts(rank_.store(), Extent::held)) {
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
    rank_.runner().await_parameters();
    expect_equal_replicas();
    TrainingState training{.step = step_, .tokens = tokens_};
    store_data_identity(training, *loader_);
    store_position(training, position_, config_.train.global_batch, *loader_);
    store_parent(training, parent_);
    store_first_steps(training, first_steps_);
    Allocator host;
    std::vector<TensorShard> shards;
    for (const StatePart& part : rank_.state(Extent::owned)) shards.push_back(to_shard(host, part));
    CheckpointLayout layout{.num_ranks = world_.size(), .axes = {}};
    for (const AxisRow& row : kAxes)
        if (row.key) layout.axes[std::string(row.name)] = (rank_.mesh().grid().*row.place).size;
    const CheckpointContent content{training, to_yaml(config_), layout};
    save_checkpoint(checkpoints_folder, shards, content, world_.rank(),
                    [&](const std::string& text) { return all_gather_text(world_, text); },
                    {.keep = config_.checkpoint.keep});
}

void Trainer::load(const std::string& checkpoint) {
    rank_.runner().await_parameters();
    agree(world_, [&] {
        const CheckpointReader reader = CheckpointReader::open(checkpoint);
        const TrainingState& training = reader.manifest().training;
        loader_->set_order(stored_data_order(training, checkpoint));
        expect_same_data(training, *loader_, checkpoint);
        expect_reachable(training, config_, checkpoint);
        position_ = stored_position(training, checkpoint);
        apply_position(position_, config_, *loader_, checkpoint);
        const TensorKind kinds[] = {TensorKind::parameter, TensorKind::optimizer, TensorKind::buffer};
        reader.expect(state_tensors(rank_.store(), &rank_.optimizer()), kinds);
        Allocator host;
        for (const StatePart& part : rank_.state(Extent::held)) read_part(host, reader, part);
        rank_.store().values_changed();
        set_first_steps(stored_first_steps(training, checkpoint));
        parent_ = stored_parent(training);
        step_ = training.step;
        tokens_ = training.tokens;
    });
    expect_equal_replicas();
}

void Trainer::set_first_steps(std::map<std::string, int64_t> first_steps) {
    first_steps_ = std::move(first_steps);
    rank_.optimizer().count_from(first_steps_);
}

std::string Trainer::start_from(const std::string& checkpoint) {
    std::string notes;
    rank_.runner().await_parameters();
    agree(world_, [&] {
        const CheckpointReader reader = CheckpointReader::open(checkpoint);
        notes = config_.start.mode == StartMode::branch ? branch(reader) : take_weights(reader);
        parent_ = reader.manifest().save_id;
    });
    expect_equal_replicas();
    return notes;
}

std::string Trainer::branch(const CheckpointReader& reader) {
    const TrainingState& training = reader.manifest().training;
    const TokenizerIdentity theirs = stored_tokenizer(training, config_.model.vocab_size);
    const TokenizerIdentity& ours = loader_->source(0).summary().tokenizer;
    if (theirs.sha256 != ours.sha256)
        throw ConfigError("data.train: {}: expected the tokenizer of the parent, {}, found {}",
                          loader_->source(0).path(), theirs.name, ours.name);
    const RunConfig parent = stored_run_config(reader.manifest(), reader.folder());
    position_ = branch_position(training, parent, *loader_, reader.folder());
    apply_position(position_, config_, *loader_, reader.folder());

    const std::vector<std::string> fresh = load_branch(reader, rank_.store(), rank_.optimizer());
    std::set<std::string> with_state; // what is frozen now begins anew should it be freed
    for (const TensorInfo& tensor : state_tensors(rank_.store(), &rank_.optimizer()))
        if (tensor.kind == TensorKind::optimizer)
            with_state.insert(tensor.name.substr(tensor.name.rfind('/') + 1));
    std::map<std::string, int64_t> first_steps;
    for (const auto& [name, step] : stored_first_steps(training, reader.folder()))
        if (with_state.contains(name)) first_steps[name] = step;
    for (const std::string& name : fresh) first_steps[name] = training.step;
    set_first_steps(std::move(first_steps));
    step_ = training.step;
    tokens_ = training.tokens;
    if (fresh.empty()) return "";
    return fmt::format("the optimizer's state of {} tensors begins here: {}", fresh.size(), first_few(fresh));
}

std::string Trainer::take_weights(const CheckpointReader& reader) {
    const WeightPlan plan =
        plan_weights(state_tensors(rank_.store(), nullptr), reader.manifest(), config_.start);
    load_weights(reader, rank_.store(), plan);
    std::string notes;
    if (!plan.missing.empty())
        notes += fmt::format("\n{} tensors keep their initial values: {}", plan.missing.size(),
                             first_few(plan.missing));
    if (!plan.surplus.empty())
        notes += fmt::format("\n{} tensors of the checkpoint are left out: {}", plan.surplus.size(),
                             first_few(plan.surplus));
    const TokenizerIdentity theirs = stored_tokenizer(reader.manifest().training, config_.model.vocab_size);
    const TokenizerIdentity& ours = loader_->source(0).summary().tokenizer;
    if (theirs.sha256 != ours.sha256)
        notes += fmt::format("\nwarning: the weights were trained with the tokenizer {}, the data have {}",
                             theirs.name, ours.name);
    return notes.empty() ? "" : notes.substr(1);
}

} // namespace braid

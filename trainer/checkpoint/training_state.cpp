#include "trainer/checkpoint/training_state.h"

#include <algorithm>
#include <map>
#include <utility>

namespace braid {
namespace {

constexpr const char* kTokenizerName = "tokenizer/name";
constexpr const char* kTokenizerHash = "tokenizer/sha256";
constexpr const char* kTokenizerSize = "tokenizer/vocab_size";
constexpr const char* kSamples = "samples";
constexpr const char* kDataOrder = "data_order"; // runs from before it was noted have 1
constexpr const char* kParent = "start/save_id";
constexpr const char *kBranchStep = "branch/step", *kBranchSample = "branch/sample",
                     *kBranchTokens = "branch/tokens";
const std::string kFirstStep = "first_step/";
constexpr int64_t kMaxTokens = 1'000'000'000'000'000'000;
// Of all runs that led to a branch. A config asks for at most 2^60 tokens, so that no sum with these
// overflows.
constexpr int64_t kMaxBefore = int64_t{1} << 61;

std::string source_key(size_t index, const char* what) {
    return fmt::format("source/{}/{}", index, what);
}

std::string gap_key(size_t index, const char* what) {
    return fmt::format("gap/{}/{}", index, what);
}

/// Of a counter that goes with others that are there.
int64_t expect_counter(const TrainingState& state, const std::string& key, const std::string& checkpoint) {
    const auto found = state.counters.find(key);
    if (found == state.counters.end())
        throw CheckpointError("{}: the training state lacks {}", checkpoint, key);
    return found->second;
}

/// How many samples of `length` tokens hold as much as these of then_length.
int64_t in_windows_of(int64_t samples, int64_t then_length, int64_t length) {
    // Without leaving the range of integers.
    return samples / length * then_length + samples % length * then_length / length;
}

/// What a run leaves out before its step `last` + 1, its parents' gaps included.
std::vector<SampleGap> gaps_until(int64_t last, const SamplePosition& position, const RunConfig& config) {
    const int64_t batch = config.train.global_batch;
    std::vector<SampleGap> gaps = position.gaps;
    // A range up to the branch is the parents' business, whatever this file says of it.
    for (const auto& [from, to] : config.data.skip)
        if (from > position.first_step && from <= last)
            gaps.push_back({position.sample_after(from - 1, batch), (to - from + 1) * batch});
    return gaps;
}

std::string text_of(const TrainingState& state, const char* key) {
    const auto found = state.data.find(key);
    if (found == state.data.end()) throw CheckpointError("the checkpoint's training state lacks {}", key);
    return found->second;
}

} // namespace

void store_data_identity(TrainingState& state, const TrainLoader& loader) {
    const TokenizerIdentity& tokenizer = loader.source(0).summary().tokenizer;
    state.data[kTokenizerName] = tokenizer.name;
    state.data[kTokenizerHash] = tokenizer.sha256;
    state.counters[kTokenizerSize] = tokenizer.vocab_size;
    state.data[kSamples] = loader.fingerprint();
    state.counters[kDataOrder] = loader.order();
}

int stored_data_order(const TrainingState& state, const std::string& checkpoint) {
    const auto found = state.counters.find(kDataOrder);
    const int64_t order = found == state.counters.end() ? 1 : found->second;
    if (order < 1 || order > TrainLoader::kNewestOrder)
        throw CheckpointError("{}: {}: this program knows 1 to {}, found {}", checkpoint, kDataOrder,
                              TrainLoader::kNewestOrder, order);
    return static_cast<int>(order);
}

TokenizerIdentity stored_tokenizer(const TrainingState& state, int64_t vocab_size) {
    const auto size = state.counters.find(kTokenizerSize);
    return {text_of(state, kTokenizerName), size == state.counters.end() ? vocab_size : size->second,
            text_of(state, kTokenizerHash)};
}

void store_position(TrainingState& state, const SamplePosition& position, int64_t global_batch,
                    const TrainLoader& loader) {
    state.sample = position.sample_after(state.step, global_batch);
    if (position.first_step > 0) {
        state.counters[kBranchStep] = position.first_step;
        state.counters[kBranchSample] = position.first_sample;
        state.counters[kBranchTokens] = position.first_tokens;
    }
    for (size_t k = 0; k < position.gaps.size(); ++k) {
        state.counters[gap_key(k, "before")] = position.gaps[k].before;
        state.counters[gap_key(k, "count")] = position.gaps[k].count;
    }
    const std::vector<int64_t> taken = loader.taken(state.sample);
    for (size_t k = 0; k < taken.size(); ++k) {
        state.data[source_key(k, "file")] = loader.source(static_cast<int>(k)).summary().fingerprint;
        state.counters[source_key(k, "samples")] = taken[k];
        if (!position.skipped.empty()) state.counters[source_key(k, "skipped")] = position.skipped[k];
    }
}

SamplePosition stored_position(const TrainingState& state, const std::string& checkpoint) {
    SamplePosition position;
    const char* const branch_keys[] = {kBranchStep, kBranchSample, kBranchTokens};
    if (std::ranges::any_of(branch_keys, [&](const char* key) { return state.counters.contains(key); }))
        position = {expect_counter(state, kBranchStep, checkpoint),
                    expect_counter(state, kBranchSample, checkpoint),
                    expect_counter(state, kBranchTokens, checkpoint)};
    for (size_t k = 0; state.counters.contains(source_key(k, "skipped")); ++k)
        position.skipped.push_back(expect_counter(state, source_key(k, "skipped"), checkpoint));
    const auto within = [&](int64_t value, int64_t most, const char* what) {
        if (value < 0 || value > most)
            throw CheckpointError("{}: {}: expected 0 to {}, found {}", checkpoint, what, most, value);
    };
    within(position.first_step, state.step, kBranchStep);
    within(position.first_sample, std::min(state.sample, kMaxBefore), kBranchSample);
    within(position.first_tokens, std::min(state.tokens, kMaxBefore), kBranchTokens);
    for (const int64_t samples : position.skipped) within(samples, kMaxTokens, "skipped samples of a source");
    int64_t left = kMaxBefore; // of all gaps together
    for (size_t k = 0;
         state.counters.contains(gap_key(k, "count")) || state.counters.contains(gap_key(k, "before")); ++k) {
        const SampleGap gap{expect_counter(state, gap_key(k, "before"), checkpoint),
                            expect_counter(state, gap_key(k, "count"), checkpoint)};
        within(gap.before, position.first_sample, "place of samples left out");
        within(gap.count, left, "samples left out");
        left -= gap.count;
        position.gaps.push_back(gap);
    }
    return position;
}

void apply_position(const SamplePosition& position, const RunConfig& config, TrainLoader& loader,
                    const std::string& checkpoint) {
    loader.leave_out(gaps_until(config.train.steps, position, config));
    if (position.skipped.empty()) return;
    if (position.skipped.size() != static_cast<size_t>(loader.num_sources()))
        throw CheckpointError("{}: counts the samples of {} sources, expected {} (data.train)", checkpoint,
                              position.skipped.size(), loader.num_sources());
    loader.skip(position.skipped);
}

SamplePosition branch_position(const TrainingState& parent, const RunConfig& its, TrainLoader& loader,
                               const std::string& checkpoint) {
    const int64_t parent_length = its.train.sequence_length;
    loader.set_order(stored_data_order(parent, checkpoint));
    if (text_of(parent, kSamples) == loader.fingerprint()) {
        const SamplePosition before = stored_position(parent, checkpoint);
        return {parent.step, parent.sample, parent.tokens, before.skipped,
                gaps_until(parent.step, before, its)};
    }
    loader.set_order(TrainLoader::kNewestOrder);
    if (!parent.data.contains(source_key(0, "file")))
        throw CheckpointError(
            "{}: does not say how many samples it took of each source, so only a branch with the same "
            "data can go on from it",
            checkpoint);
    std::multimap<std::string, int64_t> taken; // by fingerprint, in the order of the config
    for (size_t k = 0; parent.data.contains(source_key(k, "file")); ++k) {
        const int64_t samples = expect_counter(parent, source_key(k, "samples"), checkpoint);
        if (samples < 0 || samples > kMaxTokens / parent_length)
            throw CheckpointError("{}: {}: expected 0 to {}, found {}", checkpoint, source_key(k, "samples"),
                                  kMaxTokens / parent_length, samples);
        taken.emplace(parent.data.at(source_key(k, "file")), samples);
    }
    SamplePosition position{parent.step, 0, parent.tokens};
    for (int k = 0; k < loader.num_sources(); ++k) {
        const std::string& fingerprint = loader.source(k).summary().fingerprint;
        const auto kept = taken.lower_bound(fingerprint);
        if (kept == taken.end() || kept->first != fingerprint) {
            position.skipped.push_back(0);
            continue;
        }
        position.skipped.push_back(in_windows_of(kept->second, parent_length, loader.sequence_length()));
        taken.erase(kept);
    }
    return position;
}

void store_parent(TrainingState& state, const std::string& save_id) {
    if (!save_id.empty()) state.data[kParent] = save_id;
}

std::string stored_parent(const TrainingState& state) {
    const auto found = state.data.find(kParent);
    return found == state.data.end() ? "" : found->second;
}

void store_first_steps(TrainingState& state, const std::map<std::string, int64_t>& first_steps) {
    for (const auto& [name, step] : first_steps) state.counters[kFirstStep + name] = step;
}

std::map<std::string, int64_t> stored_first_steps(const TrainingState& state, const std::string& checkpoint) {
    std::map<std::string, int64_t> first_steps;
    for (auto at = state.counters.lower_bound(kFirstStep);
         at != state.counters.end() && at->first.starts_with(kFirstStep); ++at) {
        if (at->second < 0 || at->second > state.step)
            throw CheckpointError("{}: {}: expected 0 to {}, found {}", checkpoint, at->first, state.step,
                                  at->second);
        first_steps[at->first.substr(kFirstStep.size())] = at->second;
    }
    return first_steps;
}

void expect_same_data(const TrainingState& state, const TrainLoader& loader, const std::string& checkpoint) {
    const std::string stored = text_of(state, kSamples), now = loader.fingerprint();
    if (stored != now)
        throw CheckpointError(
            "{}: was trained on other data: expected fingerprint {}, found {} (files, weights, data.seed, "
            "packing and train.sequence_length decide it)",
            checkpoint, stored, now);
}

} // namespace braid

#include "trainer/training_state.h"

namespace braid {
namespace {

constexpr const char* kTokenizerName = "tokenizer/name";
constexpr const char* kTokenizerHash = "tokenizer/sha256";
constexpr const char* kTokenizerSize = "tokenizer/vocab_size";
constexpr const char* kSamples = "samples";
constexpr const char* kDataOrder = "data_order"; // runs from before it was noted have 1

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

void expect_same_data(const TrainingState& state, const TrainLoader& loader, const std::string& checkpoint) {
    const std::string stored = text_of(state, kSamples), now = loader.fingerprint();
    if (stored != now)
        throw CheckpointError(
            "{}: was trained on other data: expected fingerprint {}, found {} (files, weights, data.seed, "
            "packing and train.sequence_length decide it)",
            checkpoint, stored, now);
}

} // namespace braid

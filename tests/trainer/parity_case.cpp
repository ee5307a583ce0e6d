#include "tests/trainer/parity_case.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "optim/adamw.h"
#include "optim/gradient_norm.h"
#include "tests/support/testing_context.h"
#include "trainer/step.h"

namespace braid::testing {
namespace {

constexpr int64_t kSequence = 24, kVocabulary = 13;

/// Sample i, a pure function of i: random tokens cut into random documents, no label across their borders.
MicroBatch samples(int64_t first, int64_t count) {
    MicroBatch batch;
    batch.document_offsets = {0};
    batch.num_sequences = count;
    batch.first_sample = first;
    batch.sequence_length = kSequence;
    for (int64_t i = first; i < first + count; ++i) {
        const RngStream random(5, RngPurpose::test, "sample " + std::to_string(i));
        for (int64_t t = 0; t < kSequence; ++t) {
            const auto at = static_cast<uint64_t>(t);
            const bool ends = t + 1 == kSequence || random.bits(at, 1) % 7 == 0;
            batch.tokens.push_back(static_cast<int32_t>(random.bits(at) % kVocabulary));
            batch.labels.push_back(ends && t % 2 ? -1
                                                 : static_cast<int32_t>(random.bits(at + 1) % kVocabulary));
            if (ends) batch.document_offsets.push_back(static_cast<int32_t>(batch.tokens.size()));
        }
    }
    for (int32_t label : batch.labels) batch.num_valid_labels += label >= 0;
    return batch;
}

/// The mean loss of each sample of a step, from the losses of its tokens alone.
std::vector<SequenceLoss> sequence_losses(const Model& model, Allocator& allocator, int64_t start) {
    std::vector<SequenceLoss> losses;
    for (int64_t i = start; i < start + kParityGlobalBatch; ++i) {
        const Batch batch = to_tensors(allocator, samples(i, 1));
        Context ctx;
        ctx.allocator = &allocator;
        ctx.documents = batch.documents;
        ctx.labels = batch.labels;
        const auto tokens = to_vector(model.token_losses(ctx, model.hidden(ctx, batch.tokens)));
        const double labels = static_cast<double>(samples(i, 1).num_valid_labels);
        losses.push_back({i, std::accumulate(tokens.begin(), tokens.end(), 0.0) / labels});
    }
    return losses;
}

} // namespace

ModelConfig parity_model(AuxScope scope, bool tied) {
    ModelConfig model;
    model.vocab_size = kVocabulary;
    model.hidden_size = 8;
    model.pattern = "gdn+moe, attn+moe, attn+dense";
    model.tie_embeddings = tied;
    model.norm.zero_centered = true;
    model.init.std = 0.3;
    model.head.z_loss = 1e-2;
    AttentionConfig attention{.num_heads = 4,
                              .num_kv_heads = 2,
                              .head_dim = 4,
                              .qk_norm = QkNorm::per_head,
                              .gate = AttentionGate::elementwise};
    MoeConfig moe{
        .num_experts = 6, .experts_per_token = 2, .expert_size = 5, .shared_size = 4, .shared_gate = true};
    moe.router.aux_loss = 0.05;
    moe.router.aux_scope = scope;
    moe.router.z_loss = 1e-2;
    moe.router.bias_update_rate = 1e-3;
    model.sublayers["gdn"].kind =
        GatedDeltaNetConfig{.num_key_heads = 1, .num_value_heads = 2, .key_head_dim = 4, .value_head_dim = 4};
    model.sublayers["attn"].kind = attention;
    model.sublayers["moe"].kind = moe;
    model.sublayers["dense"].kind = MlpConfig{.size = 10};
    return model;
}

StepResult run_parity_steps(const ModelConfig& config, Communicator& comm, int64_t micro_batch,
                            bool recompute) {
    Allocator allocator;
    ParameterStore store;
    const Model model(config, store);
    store.allocate(allocator, DType::f64, true);
    store.initialize(11);
    OptimizerConfig optimizer_config;
    optimizer_config.eps = 1e-4; // so that the update of a tiny gradient is not a division of noise by noise
    AdamW optimizer(optimizer_config, store, allocator);
    StepRunner runner(model, store, comm, allocator, recompute);
    const EvenSplit split{kParityGlobalBatch, comm.size()};
    const int64_t mine = split.length(comm.rank());
    StepResult result;
    for (int64_t step = 0; step < 2; ++step) {
        const int64_t start = step * kParityGlobalBatch, first = start + split.first(comm.rank());
        const StepTotals totals{samples(start, kParityGlobalBatch).num_valid_labels,
                                kParityGlobalBatch * kSequence, kParityGlobalBatch};
        const auto losses = sequence_losses(model, allocator, start);
        Recorder recorder(model.moe_layers().size(), false);
        runner.run(
            static_cast<int>((mine + micro_batch - 1) / micro_batch),
            [&](int m) {
                return to_tensors(allocator, samples(first + m * micro_batch,
                                                     std::min(micro_batch, mine - m * micro_batch)));
            },
            totals, recorder);
        recorder.reduce(comm);
        result = {};
        result.sequence_losses = losses;
        result.worst_sequences = recorder.worst_sequences();
        result.loss = recorder.cross_entropy / static_cast<double>(totals.valid_labels);
        result.aux = recorder.aux_loss;
        result.router_z = recorder.router_z_loss;
        result.norm = std::sqrt(gradient_sum_of_squares(store));
        for (size_t unit = 0; unit < store.units().size(); ++unit) {
            const auto gradient = to_vector(store.units()[unit]->gradients),
                       before = to_vector(store.units()[unit]->values);
            optimizer.update(static_cast<int>(unit), 0, store.units()[unit]->numel, step + 1, 1e-2,
                             clip_factor(result.norm, 0.5));
            const auto after = to_vector(store.units()[unit]->values);
            result.gradients.insert(result.gradients.end(), gradient.begin(), gradient.end());
            for (size_t i = 0; i < after.size(); ++i) result.updates.push_back(after[i] - before[i]);
        }
        for (const MoeLayer* moe : model.moe_layers()) {
            const auto& counts = recorder.expert_counts[static_cast<size_t>(moe->moe_index())];
            moe->finish_step(
                from_vector(allocator, {6}, DType::i64, std::vector<double>(counts.begin(), counts.end())));
        }
    }
    for (const auto& unit : store.units())
        for (const Buffer* buffer : unit->buffers)
            for (double value : to_vector(buffer->value)) result.buffers.push_back(value);
    return result;
}

void expect_same_step(const StepResult& a, const StepResult& b, const std::string& what) {
    const auto error = [](const std::vector<double>& x, const std::vector<double>& y) {
        double difference = 0, largest = 0, squares = 0;
        for (size_t i = 0; i < x.size(); ++i) {
            difference = std::max(difference, std::abs(x[i] - y[i]));
            largest = std::max(largest, std::abs(y[i]));
            squares += y[i] * y[i];
        }
        return difference / std::max(largest, 1e-3 * std::sqrt(squares / static_cast<double>(x.size())));
    };
    EXPECT_NEAR(a.loss / b.loss, 1, 1e-12) << what;
    EXPECT_NEAR(a.aux / b.aux, 1, 1e-12) << what;
    EXPECT_NEAR(a.router_z / b.router_z, 1, 1e-12) << what;
    EXPECT_NEAR(a.norm / b.norm, 1, 1e-12) << what;
    ASSERT_EQ(a.gradients.size(), b.gradients.size());
    EXPECT_LE(error(a.gradients, b.gradients), 1e-12) << what;
    EXPECT_LE(error(a.updates, b.updates), 1e-12) << what;
    EXPECT_EQ(a.buffers, b.buffers) << what;
}

} // namespace braid::testing

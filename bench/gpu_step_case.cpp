#include <algorithm>
#include <random>

#include "bench/gpu_cases.h"
#include "layers/feed_forward/moe_config.h"
#include "layers/mixers/attention_config.h"
#include "layers/mixers/gated_delta_net_config.h"
#include "layers/model/model.h"
#include "optim/adamw.h"
#include "trainer/training/step.h"

namespace braid::bench {
namespace {

/// Qwen3-Next with 8 layers: 3 gated DeltaNet to 1 gated attention, 512 experts of which a token uses 10, and
/// a shared one. Half as wide, with experts of a quarter of the size, so that parameters, gradients, moments
/// and what 16384 tokens keep for backward fit 80 GB.
ModelConfig hybrid_model() {
    ModelConfig model;
    model.vocab_size = 151936;
    model.hidden_size = 1024;
    model.num_layers = 8;
    model.pattern = "(gdn+moe)*3, attn+moe";
    model.norm.zero_centered = true;
    model.tie_embeddings = true;
    model.sublayers["gdn"].kind = GatedDeltaNetConfig{.num_key_heads = 16,
                                                      .num_value_heads = 32,
                                                      .key_head_dim = 128,
                                                      .value_head_dim = 128,
                                                      .conv_kernel = 4};
    AttentionConfig attention{.num_heads = 16, .num_kv_heads = 2, .head_dim = 256};
    attention.qk_norm = QkNorm::per_head;
    attention.gate = AttentionGate::elementwise;
    attention.rope.fraction = 0.25;
    model.sublayers["attn"].kind = attention;
    MoeConfig moe{.num_experts = 512,
                  .experts_per_token = 10,
                  .expert_size = 128,
                  .shared_size = 128,
                  .shared_gate = true};
    moe.router.aux_loss = 1e-3;
    model.sublayers["moe"].kind = moe;
    return model;
}

ModelConfig small_hybrid_model() {
    ModelConfig model = hybrid_model();
    model.vocab_size = 64;
    model.hidden_size = 32;
    model.num_layers = 4;
    auto& gdn = model.sublayers.at("gdn").kind.get<GatedDeltaNetConfig>();
    gdn = {
        .num_key_heads = 1, .num_value_heads = 2, .key_head_dim = 16, .value_head_dim = 16, .conv_kernel = 4};
    auto& attention = model.sublayers.at("attn").kind.get<AttentionConfig>();
    attention.num_heads = 2;
    attention.num_kv_heads = 1;
    attention.head_dim = 16;
    auto& moe = model.sublayers.at("moe").kind.get<MoeConfig>();
    moe.num_experts = 4;
    moe.experts_per_token = 2;
    moe.expert_size = moe.shared_size = 16;
    return model;
}

/// Random tokens, each sequence one document.
MicroBatch random_sequences(int64_t sequences, int64_t length, int64_t words) {
    std::mt19937_64 random(1);
    MicroBatch batch;
    batch.num_sequences = sequences;
    batch.sequence_length = length;
    batch.document_offsets = {0};
    for (int64_t i = 1; i <= sequences; ++i)
        batch.document_offsets.push_back(static_cast<int32_t>(i * length));
    for (int64_t t = 0; t < sequences * length; ++t) {
        batch.tokens.push_back(static_cast<int32_t>(random() % static_cast<uint64_t>(words)));
        batch.labels.push_back(static_cast<int32_t>(random() % static_cast<uint64_t>(words)));
    }
    return batch;
}

/// All that a step needs, in the order in which it is made.
struct StepRun {
    ParameterStore store;
    Model model;
    std::unique_ptr<Communicator> world = self_communicator();
    Mesh mesh;
    std::unique_ptr<AdamW> optimizer;
    std::unique_ptr<StepRunner> runner;
    Batch batch;
    std::unique_ptr<Recorder> recorder;
    StepTotals totals;
    int64_t step = 0;

    StepRun(Rig& rig, const ModelConfig& config, const MicroBatch& micro_batch)
        : model(config, store), mesh(*world, {}) {
        store.allocate(rig.allocator, DType::bf16, true);
        store.initialize(1);
        optimizer = std::make_unique<AdamW>(OptimizerConfig{}, store, rig.allocator);
        runner = std::make_unique<StepRunner>(model, store, mesh, rig.allocator, false);
        batch = to_tensors(rig.allocator, micro_batch);
        const auto tokens = static_cast<int64_t>(micro_batch.tokens.size());
        totals = {tokens, tokens, micro_batch.num_sequences};
    }

    void run() {
        recorder = std::make_unique<Recorder>(model.moe_layers().size(), false);
        runner->run(
            1, [&](int) { return batch; }, totals, *recorder);
        ++step;
        runner->update([&](int unit) { optimizer->update(unit, step, 1e-4, 1); });
    }
};

} // namespace

std::vector<GpuCase> step_cases(bool small) {
    const ModelConfig config = small ? small_hybrid_model() : hybrid_model();
    const int64_t sequences = small ? 2 : 4, length = small ? 16 : 4096, tokens = sequences * length;
    const MicroBatch batch = random_sequences(sequences, length, config.vocab_size);
    ParameterStore declared; // takes no memory
    const Model model(config, declared);
    const Documents documents{batch.document_offsets, sequences};
    const Work work{.flops = 3 * model.forward_flops(documents), .tokens = tokens};
    const std::string shape =
        fmt::format("{} x {}, {} layers, {:.3g} B, {:.3g} B active", sequences, length, config.num_layers,
                    static_cast<double>(model.num_parameters()) * 1e-9,
                    static_cast<double>(model.num_active_parameters()) * 1e-9);
    return {{"step", shape, work, [=](Rig& rig) {
                 const auto run = std::make_shared<StepRun>(rig, config, batch);
                 return Measured{[] {}, [=] { run->run(); }};
             }}};
}

} // namespace braid::bench

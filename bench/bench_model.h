#pragma once

#include "base/rng.h"
#include "layers/feed_forward/moe_config.h"
#include "layers/mixers/attention_config.h"
#include "layers/mixers/gated_delta_net_config.h"
#include "layers/specification/model_config.h"
#include "trainer/training/batch.h"

namespace braid::bench {

// The model and the micro-batch that the benchmarks of whole steps share.

inline constexpr int64_t kSequence = 1024, kMicroBatch = 4, kVocabulary = 4096;

/// Hidden size 512, 8 layers of (3 gated DeltaNet : 1 attention), 32 experts of which a token uses 4.
inline ModelConfig bench_model() {
    ModelConfig model;
    model.vocab_size = kVocabulary;
    model.hidden_size = 512;
    model.num_layers = 8;
    model.pattern = "(gdn+moe)*3, attn+moe";
    model.norm.zero_centered = true;
    model.sublayers["gdn"].kind = GatedDeltaNetConfig{
        .num_key_heads = 4, .num_value_heads = 8, .key_head_dim = 64, .value_head_dim = 64, .conv_kernel = 4};
    AttentionConfig attention{.num_heads = 8, .num_kv_heads = 2, .head_dim = 64};
    attention.qk_norm = QkNorm::per_head;
    attention.gate = AttentionGate::elementwise;
    attention.rope.fraction = 0.25;
    model.sublayers["attn"].kind = attention;
    MoeConfig moe{.num_experts = 32,
                  .experts_per_token = 4,
                  .expert_size = 256,
                  .shared_size = 256,
                  .shared_gate = true};
    moe.router.aux_loss = 1e-3;
    model.sublayers["moe"].kind = moe;
    return model;
}

/// The same pattern at hidden size 256 with 16 experts: about 20 million parameters.
inline ModelConfig small_bench_model() {
    ModelConfig model = bench_model();
    model.hidden_size = 256;
    auto& moe = model.sublayers.at("moe").kind.get<MoeConfig>();
    moe.num_experts = 16;
    moe.expert_size = 128;
    moe.shared_size = 128;
    return model;
}

/// Random tokens in documents of 100 to 1124 tokens, cut at the ends of sequences.
inline Batch random_batch(Allocator& allocator, uint64_t seed, int64_t num_sequences = kMicroBatch) {
    const RngStream random(seed, RngPurpose::test, "bench");
    MicroBatch batch;
    batch.document_offsets = {0};
    batch.num_sequences = num_sequences;
    batch.sequence_length = kSequence;
    int64_t left = 0;
    for (int64_t t = 0; t < num_sequences * kSequence; ++t) {
        const auto at = static_cast<uint64_t>(t);
        if (left == 0) left = 100 + static_cast<int64_t>(random.bits(at, 1) % 1024);
        batch.tokens.push_back(static_cast<int32_t>(random.bits(at) % kVocabulary));
        batch.labels.push_back(static_cast<int32_t>(random.bits(at + 1) % kVocabulary));
        if (--left == 0 || (t + 1) % kSequence == 0) {
            batch.document_offsets.push_back(static_cast<int32_t>(t + 1));
            left = 0;
        }
    }
    return to_tensors(allocator, batch);
}

} // namespace braid::bench

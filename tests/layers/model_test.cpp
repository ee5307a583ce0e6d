#include "layers/model/model.h"

#include <cmath>

#include "layers/feed_forward/moe_config.h"
#include "layers/mixers/attention_config.h"
#include "layers/mixers/gated_delta_net_config.h"
#include "layers/sublayer/decode_state.h"
#include "tests/layers/reference.h"
#include "tests/support/testing_context.h"

namespace braid::testing {
namespace {

ModelConfig small_model(const std::string& pattern) {
    ModelConfig model;
    model.vocab_size = 11;
    model.hidden_size = 8;
    model.pattern = pattern;
    model.init = {.std = 0.3, .distribution = InitDistribution::normal, .output = InitOutput::same};
    model.head = {.softcap = 5, .scale = 0.7};
    model.sublayers["gdn"].kind = GatedDeltaNetConfig{
        .num_key_heads = 1, .num_value_heads = 2, .key_head_dim = 4, .value_head_dim = 4, .conv_kernel = 4};
    AttentionConfig attention{.num_heads = 2, .num_kv_heads = 1, .head_dim = 4, .qk_norm = QkNorm::per_head};
    model.sublayers["attn"].kind = attention;
    attention.window = 3;
    model.sublayers["local"].kind = attention;
    model.sublayers["moe"].kind = MoeConfig{.num_experts = 4, .experts_per_token = 2, .expert_size = 6};
    return model;
}

struct Allocated {
    TestContext t;
    ParameterStore store;
    Model model;

    explicit Allocated(const ModelConfig& config, uint64_t seed = 3) : model(config, store) {
        store.allocate(t.allocator, DType::f64, true);
        store.initialize(seed);
    }
    Tensor tokens(const std::vector<int32_t>& ids) {
        return from_vector(t.allocator, {static_cast<int64_t>(ids.size())}, DType::i32,
                           std::vector<double>(ids.begin(), ids.end()));
    }
};

std::vector<int32_t> random_ids(size_t count, int32_t vocabulary, const char* name) {
    const RngStream random(1, RngPurpose::test, name);
    std::vector<int32_t> ids;
    for (size_t i = 0; i < count; ++i)
        ids.push_back(static_cast<int32_t>(random.bits(i) % static_cast<uint64_t>(vocabulary)));
    return ids;
}

TEST(model, loss_equals_reference) {
    for (const char* pattern : {"gdn+moe, attn+moe", "(local+moe)*2", "gdn, moe, attn"})
        for (bool tied : {false, true}) {
            ModelConfig config = small_model(pattern);
            config.tie_embeddings = tied;
            config.norm.embedding = tied;
            Allocated a(config);
            const std::vector<int32_t> documents = {5, 1, 8};
            const auto ids = random_ids(14, 11, "ids");
            auto labels = random_ids(14, 11, "labels");
            labels[4] = labels[5] = labels[13] = -1;
            a.t.set_documents(documents);
            Values values = {a.tokens(ids)};
            const auto segments = a.model.segments(false);
            for (const LayerSegment& segment : segments) {
                if (&segment == &segments.back()) values.push_back(a.tokens(labels));
                values = segment.forward(a.t.ctx, values, nullptr);
            }
            const double expected =
                reference::model_loss(reference::Weights(a.store), config, ids, labels, documents);
            EXPECT_NEAR(*values[0].data<double>() / expected, 1, 1e-12) << pattern << ", tied " << tied;
        }
}

TEST(model, weights_depend_on_names_alone) {
    ModelConfig config = small_model("gdn+moe, attn+moe");
    Allocated a(config), b(config), other_seed(config, 4);
    for (size_t u = 0; u < a.store.units().size(); ++u)
        expect_identical(a.store.units()[u]->values, b.store.units()[u]->values, "weights");
    // Another layer before them changes neither embedding nor head.
    config.pattern = "gdn+moe, attn+moe, gdn";
    Allocated deeper(config);
    expect_identical(deeper.store.units().front()->values, a.store.units().front()->values, "embedding");
    expect_identical(deeper.store.units().back()->values, a.store.units().back()->values, "head");
    EXPECT_GT(relative_error(other_seed.store.units()[0]->values, a.store.units()[0]->values), 0.1);
}

TEST(model, decays_start_as_the_config_says) {
    ModelConfig config = small_model("gdn, gdn, gdn");
    const auto values_of = [](Allocated& a, const std::string& ending) {
        std::vector<double> values;
        for (const auto& unit : a.store.units())
            for (const Parameter* parameter : unit->parameters)
                for (const auto& section : parameter->sections())
                    if (section.spec.name.ends_with(ending)) {
                        const double* first = unit->values.data<double>() + section.unit_offset;
                        values.insert(values.end(), first, first + section.numel());
                    }
        return values;
    };
    Allocated published(config);
    for (const double bias : values_of(published, ".dt_bias")) EXPECT_EQ(bias, 1);
    config.sublayers["gdn"].init.decay = DecayInit::log_uniform_dt;
    config.sublayers["gdn"].init.a_range = {1, 2};
    Allocated slow(config);
    ASSERT_EQ(values_of(slow, ".dt_bias").size(), 6u);
    for (const double bias : values_of(slow, ".dt_bias")) { // the inverse of softplus, rounded to f32
        EXPECT_GE(std::log1p(std::exp(bias)), 1e-3 * (1 - 1e-6));
        EXPECT_LE(std::log1p(std::exp(bias)), 0.1 * (1 + 1e-6));
    }
    for (const double a_log : values_of(slow, ".a_log")) {
        EXPECT_GE(a_log, 0);
        EXPECT_LE(a_log, std::log(2.0) * (1 + 1e-6));
    }
}

TEST(model, decoding_step_by_step_equals_one_forward_run) {
    for (const char* pattern : {"gdn+moe, attn+moe", "local, gdn"}) {
        Allocated a(small_model(pattern));
        const auto ids = random_ids(13, 11, "ids");
        a.t.set_documents({13});
        const Tensor all = a.model.logits(a.t.ctx, a.model.hidden(a.t.ctx, a.tokens(ids)));
        DecodeState state;
        LayerContext ctx = a.t.ctx;
        ctx.decode = &state;
        size_t at = 0;
        for (size_t count : {4, 1, 1, 2, 5}) { // a prompt, single tokens, and several at once
            const std::vector<int32_t> next(ids.begin() + static_cast<int64_t>(at),
                                            ids.begin() + static_cast<int64_t>(at + count));
            ctx.documents = Documents::single(static_cast<int64_t>(count), state.position());
            const Tensor logits = a.model.logits(ctx, a.model.hidden(ctx, a.tokens(next)));
            state.advance(static_cast<int64_t>(count));
            expect_close(logits, all.rows(static_cast<int64_t>(at), static_cast<int64_t>(count)), 1e-12,
                         pattern);
            at += count;
        }
    }
}

TEST(model, counts_parameters_as_published) {
    // Qwen3-Next-80B-A3B: the published sizes, and the published counts without multi-token prediction.
    ModelConfig config;
    config.vocab_size = 151936;
    config.hidden_size = 2048;
    config.num_layers = 48;
    config.pattern = "(gdn+moe)*3, attn+moe";
    config.norm.zero_centered = true;
    config.sublayers["gdn"].kind = GatedDeltaNetConfig{.num_key_heads = 16,
                                                       .num_value_heads = 32,
                                                       .key_head_dim = 128,
                                                       .value_head_dim = 128,
                                                       .conv_kernel = 4};
    config.sublayers["attn"].kind = AttentionConfig{.num_heads = 16,
                                                    .num_kv_heads = 2,
                                                    .head_dim = 256,
                                                    .qk_norm = QkNorm::per_head,
                                                    .gate = AttentionGate::elementwise};
    config.sublayers["moe"].kind = MoeConfig{.num_experts = 512,
                                             .experts_per_token = 10,
                                             .expert_size = 512,
                                             .shared_size = 512,
                                             .shared_gate = true};
    ParameterStore store;
    const Model model(config, store);
    EXPECT_EQ(model.num_parameters(), 79674391296);
    EXPECT_EQ(model.num_active_parameters(), 3874929408);
}

} // namespace
} // namespace braid::testing

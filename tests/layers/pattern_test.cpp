#include "layers/specification/pattern.h"

#include "layers/feed_forward/mlp_config.h"
#include "layers/feed_forward/moe_config.h"
#include "layers/mixers/attention_config.h"
#include "layers/mixers/gated_delta_net_config.h"
#include "layers/specification/model_schema.h"
#include "tests/support/config_text.h"

namespace braid {
namespace {

using braid::testing::config_error;
using ::testing::HasSubstr;

std::string spelled(const std::string& pattern) {
    std::string text;
    for (const LayerNames& layer : parse_pattern(pattern)) {
        text += text.empty() ? "" : " ";
        for (size_t i = 0; i < layer.size(); ++i) text += (i > 0 ? "+" : "") + layer[i];
    }
    return text;
}

std::string pattern_error(const std::string& pattern) {
    return config_error([&] { (void)parse_pattern(pattern); });
}

ModelConfig model_of(const std::string& pattern, int64_t num_layers = 0) {
    ModelConfig model;
    model.vocab_size = 16;
    model.hidden_size = 8;
    model.pattern = pattern;
    model.num_layers = num_layers;
    model.sublayers["attn"].kind =
        AttentionConfig{.num_heads = 2, .num_kv_heads = 1, .head_dim = 4, .rope = {}};
    model.sublayers["gdn"].kind = GatedDeltaNetConfig{2, 2, 4, 4, 4};
    model.sublayers["moe"].kind =
        MoeConfig{.num_experts = 4, .experts_per_token = 2, .expert_size = 8, .router = {}};
    model.sublayers["dense"].kind = MlpConfig{.size = 8};
    return model;
}

std::string expanded(const ModelConfig& model) {
    std::string text;
    for (const LayerConfig& layer : expand_layers(model)) {
        text += text.empty() ? "" : " ";
        for (size_t i = 0; i < layer.sublayers.size(); ++i)
            text += (i > 0 ? "+" : "") + layer.sublayers[i].name;
    }
    return text;
}

std::string expand_error(const ModelConfig& model) {
    return config_error([&] { (void)expand_layers(model); });
}

TEST(pattern, groups_repetitions_and_joins) {
    EXPECT_EQ(spelled("(gdn+moe)*3, attn+moe"), "gdn+moe gdn+moe gdn+moe attn+moe");
    EXPECT_EQ(spelled("a*2,((b,c)*2, d)*2"), "a a b c b c d b c b c d");
    EXPECT_EQ(spelled("mamba, moe, mamba"), "mamba moe mamba");
    EXPECT_EQ(spelled("a*0, b"), "b");
    EXPECT_EQ(spelled("(a, b)*0"), "");
    EXPECT_EQ(spelled(""), "");
    EXPECT_EQ(spelled("  a + b ,( c ) * 2 "), "a+b c c");
    EXPECT_EQ(spelled("(((a*0)*9999)*9999), b"), "b");
}

TEST(pattern, faults_name_the_column) {
    EXPECT_EQ(pattern_error("a, "), "column 4: expected a sublayer's name or '(', found the end");
    EXPECT_EQ(pattern_error("a,,b"), "column 3: expected a sublayer's name or '(', found ','");
    EXPECT_EQ(pattern_error("(a"), "column 3: expected ',' or ')', found the end");
    EXPECT_EQ(pattern_error("a)"), "column 2: expected ',' or the end, found ')'");
    EXPECT_EQ(pattern_error("a b"), "column 3: expected ',' or the end, found 'b'");
    EXPECT_EQ(pattern_error("a*b"), "column 3: expected a whole number after '*', found 'b'");
    EXPECT_EQ(pattern_error("a*-1"), "column 3: expected a whole number after '*', found '-'");
    EXPECT_EQ(pattern_error("()"), "column 2: expected a sublayer's name or '(', found ')'");
    EXPECT_THAT(pattern_error("a+a"), HasSubstr("column 3: a is twice in one layer"));
    EXPECT_THAT(pattern_error("3a"), HasSubstr("column 1"));
}

TEST(pattern, expansion_is_bounded_before_it_takes_memory) {
    EXPECT_THAT(pattern_error("a*1000000000"), HasSubstr("repetition of at most 10000"));
    EXPECT_THAT(pattern_error("a*99999999999999999999"), HasSubstr("repetition of at most 10000"));
    EXPECT_THAT(pattern_error("(((a*1000)*1000)*1000)*1000"), HasSubstr("at most 10000 layers"));
    EXPECT_THAT(pattern_error(std::string(100'000, '(')), HasSubstr("nest more than 32 deep"));
    std::string wide = "a0";
    for (int i = 1; i < 100; ++i) wide += "+a" + std::to_string(i);
    EXPECT_THAT(pattern_error("(" + wide + ")*10000"), HasSubstr("40000 sublayers"));
}

TEST(expand_layers, tiles_between_head_and_tail) {
    ModelConfig model = model_of("(gdn+moe)*2, attn+moe", 8);
    model.pattern_head = "attn+dense";
    model.pattern_tail = "gdn+dense";
    EXPECT_EQ(expanded(model), "attn+dense gdn+moe gdn+moe attn+moe gdn+moe gdn+moe attn+moe gdn+dense");
    model.num_layers = 0;
    EXPECT_EQ(expanded(model), "attn+dense gdn+moe gdn+moe attn+moe gdn+dense");
    model.num_layers = 7;
    EXPECT_THAT(expand_error(model),
                HasSubstr("model.num_layers: expected head and tail (2) plus whole tiles of 3 layers, "
                          "found 7; nearest: 5 or 8"));
    model.partial_tile = PartialTile::truncate;
    EXPECT_EQ(expanded(model), "attn+dense gdn+moe gdn+moe attn+moe gdn+moe gdn+moe gdn+dense");
    model.num_layers = 1;
    EXPECT_THAT(expand_error(model), HasSubstr("model.num_layers: expected more than the 2 layers"));
    EXPECT_EQ(expanded(model_of("attn, gdn", 2)), "attn gdn");
    EXPECT_THAT(expand_error(model_of("attn, gdn", 1)), HasSubstr("nearest: 2, or"));
    EXPECT_THAT(expand_error(model_of("attn*0", 4)), HasSubstr("model.pattern: expected a layer to repeat"));
    EXPECT_THAT(expand_error(model_of("attn*0")), HasSubstr("model.pattern: expected at least one layer"));
    EXPECT_THAT(expand_error(model_of("atn+moe")), HasSubstr("found atn; did you mean attn?"));
}

TEST(expand_layers, resolves_norm_and_init_per_sublayer) {
    ModelConfig model = model_of("attn+dense");
    model.norm.placement = NormPlacement::post;
    model.norm.eps = 1e-5;
    model.sublayers["dense"].norm.placement = NormPlacement::sandwich;
    model.sublayers["dense"].init.output = InitOutput::zero;
    const LayerConfig layer = expand_layers(model).at(0);
    EXPECT_EQ(layer.sublayers[0].norm.placement, NormPlacement::post);
    EXPECT_EQ(layer.sublayers[0].init.output, InitOutput::depth_scaled);
    EXPECT_EQ(layer.sublayers[1].norm.placement, NormPlacement::sandwich);
    EXPECT_EQ(layer.sublayers[1].norm.eps, 1e-5);
    EXPECT_EQ(layer.sublayers[1].init.output, InitOutput::zero);
}

TEST(expand_layers, edits_replace_and_set_single_layers) {
    ModelConfig model = model_of("(gdn+moe)*3, attn+moe");
    model.layers = {{"0-1", {{"moe", "dense"}}, {}},
                    {"2,3", {}, {{"moe.experts_per_token", "3"}, {"moe.router.scale", "2.5"}}}};
    EXPECT_EQ(expanded(model), "gdn+dense gdn+dense gdn+moe attn+moe");
    const auto layers = expand_layers(model);
    EXPECT_EQ(layers[3].sublayers[1].config.kind.get<MoeConfig>().experts_per_token, 3);
    EXPECT_EQ(layers[3].sublayers[1].config.kind.get<MoeConfig>().router.scale, 2.5);
    EXPECT_EQ(unused_sublayers(model), std::vector<std::string>{});
    EXPECT_EQ(unused_sublayers(model_of("attn+moe")), (std::vector<std::string>{"dense", "gdn"}));
}

TEST(expand_layers, edits_that_do_not_fit_are_refused) {
    const auto error_of = [](LayerEdit edit) {
        ModelConfig model = model_of("(gdn+moe)*3, attn+moe");
        model.layers = {std::move(edit)};
        return expand_error(model);
    };
    EXPECT_THAT(error_of({"4", {{"moe", "dense"}}, {}}),
                HasSubstr("model.layers.0.at: expected layers from 0 to 3, found 4"));
    EXPECT_THAT(error_of({"x", {{"moe", "dense"}}, {}}),
                HasSubstr("model.layers.0.at: expected numbers and ranges"));
    EXPECT_THAT(error_of({"0", {{"attn", "dense"}}, {}}), HasSubstr("layer 0 has no sublayer of this name"));
    EXPECT_THAT(error_of({"0", {{"moe", "dens"}}, {}}), HasSubstr("did you mean dense?"));
    EXPECT_THAT(error_of({"0", {{"moe", "gdn"}}, {}}), HasSubstr("layer 0 has gdn already"));
    EXPECT_THAT(error_of({"0", {}, {{"attn.window", "4"}}}), HasSubstr("layer 0 has no sublayer attn"));
    EXPECT_THAT(error_of({"0", {}, {{"moe", "4"}}}), HasSubstr("expected SUBLAYER.KEY, found moe"));
    EXPECT_THAT(
        error_of({"0", {}, {{"moe.expert_siz", "4"}}}),
        HasSubstr(
            "model.layers.0.set.moe.expert_siz: moe.expert_siz: unknown key; did you mean moe.expert_size?"));
    EXPECT_THAT(error_of({"0", {}, {{"moe.experts_per_token", "5"}}}),
                HasSubstr("expected at most num_experts (4), found 5"));
    EXPECT_THAT(error_of({"0", {}, {{"moe.type", "mlp"}}}), HasSubstr("model.layers.0.set.moe.type"));
    EXPECT_THAT(error_of({"0", {}, {{"moe." + std::string(5000, '.'), "1"}}}), HasSubstr("parts"));
}

TEST(resolve_copies, copies_chains_and_refuses_cycles) {
    YamlNode sublayers = parse_yaml(
        "c: {like: b, window: 9}\na: {type: attention, head_dim: 4}\nb: {like: a, head_dim: 8}\n", "f");
    resolve_copies(sublayers);
    EXPECT_EQ(to_flow_yaml(*sublayers.find("c")), "{type: attention, head_dim: 8, window: 9}");
    EXPECT_EQ(to_flow_yaml(*sublayers.find("b")), "{type: attention, head_dim: 8}");
    YamlNode cycle = parse_yaml("a: {like: b}\nb: {like: c}\nc: {like: a}\n", "f");
    EXPECT_THAT(config_error([&] { resolve_copies(cycle); }), HasSubstr("a -> b -> c -> a"));
    YamlNode self = parse_yaml("a: {like: a}\n", "f");
    EXPECT_THAT(config_error([&] { resolve_copies(self); }),
                HasSubstr("f:1:11: model.sublayers.a.like: a sublayer cannot copy itself"));
    YamlNode unknown = parse_yaml("attn: {type: attention}\nb: {like: atn}\n", "f");
    EXPECT_THAT(config_error([&] { resolve_copies(unknown); }), HasSubstr("found atn; did you mean attn?"));
}

} // namespace
} // namespace braid

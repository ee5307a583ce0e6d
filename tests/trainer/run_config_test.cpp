#include "trainer/config/run_config.h"

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <set>

#include "layers/feed_forward/moe_config.h"
#include "layers/mixers/attention_config.h"
#include "layers/specification/pattern.h"
#include "tests/support/config_text.h"
#include "tests/support/temporary_folder.h"
#include "trainer/config/run_schema.h"

namespace braid {
namespace {

using braid::testing::config_error;
using braid::testing::kHybridRun;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

RunConfig hybrid_run(const std::vector<std::string>& overrides = {}) {
    return parse_run_config(kHybridRun, "run.yaml", overrides);
}

/// What the hybrid run says with these overrides.
std::string refused(const std::vector<std::string>& overrides) {
    return config_error([&] { (void)hybrid_run(overrides); });
}

TEST(run_config, fills_every_section_and_the_dependent_defaults) {
    const RunConfig run = hybrid_run();
    EXPECT_EQ(run.name, "hybrid");
    EXPECT_EQ(run.run_dir, "runs/hybrid");
    EXPECT_EQ(run.seed, 7u);
    EXPECT_EQ(run.data.seed, 7u);
    EXPECT_EQ(run.model.norm.placement, NormPlacement::pre);
    const auto& attention = run.model.sublayers.at("attn").kind.get<AttentionConfig>();
    EXPECT_EQ(attention.rope.theta, 500);
    EXPECT_EQ(run.model.sublayers.at("moe").kind.get<MoeConfig>().router.aux_loss, 1e-3);
    EXPECT_EQ(run.train.micro_batch, 2);
    EXPECT_EQ(run.optimizer.betas, (std::array<double, 2>{0.9, 0.95}));
    EXPECT_EQ(run.data.validation.at("web").path, "valid.h5");
    const RunConfig defaults =
        hybrid_run({"model.sublayers.attn.num_kv_heads=null", "train.micro_batch=null", "name=null"});
    EXPECT_EQ(defaults.model.sublayers.at("attn").kind.get<AttentionConfig>().num_kv_heads, 4);
    EXPECT_EQ(defaults.train.micro_batch, 8);
    EXPECT_EQ(defaults.name, "run");
}

TEST(run_config, tokens_become_steps_and_sequences) {
    const RunConfig run = hybrid_run({"train.steps=null", "train.tokens=1M", "train.global_batch=null",
                                      "train.global_batch_tokens=640", "optimizer.schedule.warmup_steps=null",
                                      "optimizer.schedule.warmup_tokens=6.5K"});
    EXPECT_EQ(run.train.global_batch, 10);
    EXPECT_EQ(run.train.steps, 1563); // ceil(1,000,000 / 640)
    EXPECT_EQ(run.optimizer.schedule.warmup_steps, 11);
    EXPECT_THAT(refused({"train.tokens=1M"}), HasSubstr("train.tokens: says the same as train.steps"));
    EXPECT_THAT(refused({"train.steps=null"}),
                HasSubstr("train.steps: required, and left out (or give train.tokens)"));
    EXPECT_THAT(
        refused({"train.global_batch=null", "train.global_batch_tokens=650"}),
        HasSubstr("expected a multiple of train.sequence_length (64), found 650; nearest: 640 or 704"));
    EXPECT_THAT(refused({"optimizer.schedule.warmup_tokens=1K"}), HasSubstr("says the same as warmup_steps"));
}

TEST(run_config, one_override_changes_the_ratio_and_one_the_placement) {
    EXPECT_EQ(expand_layers(hybrid_run().model).at(3).sublayers.at(0).name, "attn");
    const RunConfig ratio = hybrid_run({"model.pattern=gdn+moe, attn+moe"});
    EXPECT_EQ(expand_layers(ratio.model).at(1).sublayers.at(0).name, "attn");
    const RunConfig placement = hybrid_run({"model.norm.placement=sandwich"});
    EXPECT_EQ(expand_layers(placement.model).at(2).sublayers.at(1).norm.placement, NormPlacement::sandwich);
    EXPECT_EQ(hybrid_run({"model.pattern=[gdn+moe, attn+moe]"}).model.pattern, "gdn+moe, attn+moe");
}

TEST(run_config, names_hold_keys) {
    EXPECT_EQ(hybrid_run({"name=nano-{model.norm.placement}-s{seed}", "seed=3"}).name, "nano-pre-s3");
    EXPECT_EQ(hybrid_run({"name=lr{optimizer.lr}"}).run_dir, "runs/lr0.003");
    EXPECT_THAT(refused({"name=a{model.norm.placment}"}), HasSubstr("did you mean model.norm.placement?"));
    EXPECT_THAT(refused({"name=a{model.norm}"}), HasSubstr("expected {key.path} of one value"));
    EXPECT_THAT(refused({"name=a{seed"}), HasSubstr("found {seed"));
    for (const std::string name : {"a/b", "..", "\"\"", "a b", "-x"})
        EXPECT_THAT(refused({"name=" + name}), HasSubstr("as a folder's name")) << name;
}

TEST(run_config, unknown_keys_suggest_the_name_here) {
    const std::vector<std::pair<std::string, std::string>> cases{
        {"model.num_attention_heads", "model.sublayers.attn.num_heads"},
        {"train.seq_length", "train.sequence_length"},
        {"micro_batch_size", "train.micro_batch"},
        {"model.sublayers.moe.moe_router_topk", "model.sublayers.moe.experts_per_token"},
        {"model.sublayers.moe.num_experts_per_tok", "model.sublayers.moe.experts_per_token"},
        {"model.rope_theta", "model.sublayers.attn.rope.theta"},
        {"model.hiden_size", "model.hidden_size"},
        {"model.norm.placment", "model.norm.placement"},
        {"train.lr", "optimizer.lr"},
        {"train.learning_rate", "optimizer.lr"},
        {"model.num_hidden_layers", "model.num_layers"},
        {"model.linear_num_value_heads", "model.sublayers.gdn.num_value_heads"},
        {"optimizer.clip_grad", "optimizer.clip"},
        {"optimizer.muon_momentum", "optimizer.muon.momentum"},
        {"optimizer.muon.ns_step", "optimizer.muon.ns_steps"},
        {"optimizer.muon_scale_mode", "optimizer.muon.scale"},
        {"optimizer.adam-beta1", "optimizer.betas"},
        {"checkpoint.save_interval", "checkpoint.every"},
        {"train.train_iters", "train.steps"},
        {"model.norm_topk_prob", "model.sublayers.moe.router.normalize"},
        {"model.n_group", "model.sublayers.moe.router.num_groups"},
        {"model.sublayers.moe.topk_group", "model.sublayers.moe.router.group_topk"},
        {"model.sublayers.moe.router.moe_router_num_groups", "model.sublayers.moe.router.num_groups"},
        {"model.sublayers.moe.router.moe_router_group_topk", "model.sublayers.moe.router.group_topk"},
        {"model.rms_norm_eps", "model.norm.eps"}};
    for (const auto& [key, expected] : cases)
        EXPECT_EQ(refused({key + "=1"}),
                  "override 1 (" + key + "=1): " + key + ": unknown key; did you mean " + expected + "?");
    EXPECT_THAT(refused({"zzzzqqqq=1"}), HasSubstr("zzzzqqqq: unknown key"));
    EXPECT_THAT(refused({"zzzzqqqq=1"}), Not(HasSubstr("did you mean")));
    EXPECT_THAT(refused({"model.sublayers.moe.window=4"}),
                HasSubstr("model.sublayers.moe.window: this key belongs to type attention"));
}

TEST(run_config, faults_name_line_and_column_and_come_together) {
    std::string text = kHybridRun;
    text.replace(text.find("hidden_size: 32"), 15, "hiddn_size: 32 ");
    text.replace(text.find("lr: 3.0e-3"), 10, "lr: nan   ");
    text.replace(text.find("num_experts: 8"), 14, "num_experts: 0");
    const std::string error = config_error([&] { (void)parse_run_config(text, "r.yaml"); });
    EXPECT_THAT(error,
                HasSubstr("r.yaml:5:3: model.hiddn_size: unknown key; did you mean model.hidden_size?"));
    EXPECT_THAT(error, HasSubstr("r.yaml:18:20: model.sublayers.moe.num_experts: expected a whole number "
                                 "from 1 to 65536, found 0"));
    EXPECT_THAT(error,
                HasSubstr("r.yaml:26:7: optimizer.lr: expected a number, above 0, at most 1000, found nan"));
    EXPECT_THAT(error, HasSubstr("model.hidden_size: required, and left out"));
    EXPECT_EQ(std::count(error.begin(), error.end(), '\n'), 3);
}

TEST(run_config, many_faults_are_cut_to_a_readable_number) {
    std::string text = kHybridRun;
    for (int i = 0; i < 5000; ++i) text += "unknown_" + std::to_string(i) + ": 1\n";
    const std::string error = config_error([&] { (void)parse_run_config(text, "r.yaml"); });
    EXPECT_EQ(std::count(error.begin(), error.end(), '\n'), 20);
    EXPECT_THAT(error, HasSubstr("... and more: 5000 faults in all"));
}

TEST(run_config, what_is_not_built_is_refused_as_such) {
    for (const std::string override :
         {"parallel.context=1", "parallel.pipeline=1", "parallel.virtual_stages=1", "parallel.schedule=1f1b",
          "parallel.context_method={attention: ring}", "model.mtp={depth: 0}", "checkpoint.async=false",
          "model.sublayers.attn.sinks=true", "model.sublayers.attn.softcap=30", "model.sublayers.moe.clamp=7",
          "model.sublayers.moe.capacity_factor=2"})
        EXPECT_THAT(refused({override}), HasSubstr("not built yet")) << override;
}

TEST(run_config, keys_without_effect_are_refused) {
    const std::vector<std::pair<std::vector<std::string>, std::string>> cases{
        {{"model.sublayers.attn.rope.fraction=0"},
         "run.yaml:15:14: model.sublayers.attn.rope.theta: has no effect: fraction is 0"},
        {{"model.sublayers.moe.shared_size=0"},
         "model.sublayers.moe.shared_gate: has no effect: shared_size is 0"},
        {{"model.sublayers.moe.router.aux_loss=0"},
         "model.sublayers.moe.router.aux_scope: has no effect: aux_loss is 0"},
        {{"model.sublayers.moe.router.group_topk=1"},
         "model.sublayers.moe.router.group_topk: has no effect: num_groups is 1"},
        {{"model.sublayers.moe.router.num_groups=1", "model.sublayers.moe.router.group_score=max"},
         "model.sublayers.moe.router.group_score: has no effect: num_groups is 1"},
        {{"optimizer.schedule.type=constant"},
         "optimizer.schedule.min_lr: has no effect: the schedule is constant; remove it"},
        {{"optimizer.schedule.decay_steps=5"},
         "optimizer.schedule.decay_steps: has no effect: the schedule is not wsd"},
        {{"optimizer.schedule.decay_shape=linear"},
         "optimizer.schedule.decay_shape: has no effect: the schedule is not wsd"},
        {{"model.num_layers=null", "model.partial_tile=truncate"},
         "model.partial_tile: has no effect: num_layers is not given"},
        {{"model.sublayers.attn.init.decay=constant_dt"},
         "model.sublayers.attn.init.decay: has no effect: only sublayers of type gated_delta_net, kimi_delta "
         "or mamba2 decay"},
        {{"model.sublayers.gdn.init.a_range=[2, 1]"},
         "model.sublayers.gdn.init.a_range: expected the smaller number first"},
        {{"model.sublayers.gdn.init.a_range=[0, 1]"}, "model.sublayers.gdn.init.a_range"},
        {{"data.validation=null", "eval.every=5"}, "eval.every: has no effect: data.validation names no set"},
        {{"data.validation=null", "eval.at_start=true"},
         "eval.at_start: has no effect: data.validation names no set"},
        {{"optimizer.groups=[{role: norm}]"},
         "optimizer.groups.0.weight_decay: has no effect: expected weight_decay, lr_scale or muon"},
        {{"optimizer.muon.ns_steps=6"}, "optimizer.muon: has no effect: the optimizer is adamw"},
        {{"optimizer.groups=[{role: matrix, muon: false}]"},
         "optimizer.groups.0.muon: has no effect: the optimizer is adamw"},
        {{"optimizer.type=muon", "optimizer.muon={momentum: 0, nesterov: true}"},
         "optimizer.muon.nesterov: has no effect: there is no momentum"},
        {{"model.layers=[{at: 0}]"}, "model.layers.0.at: has no effect: expected replace or set"}};
    for (const auto& [overrides, message] : cases) EXPECT_THAT(refused(overrides), HasSubstr(message));
    EXPECT_EQ(hybrid_run({"optimizer.schedule.type=constant", "optimizer.schedule.min_lr=null"})
                  .optimizer.schedule.min_lr,
              0);
}

TEST(run_config, sizes_must_fit_each_other) {
    const std::vector<std::pair<std::vector<std::string>, std::string>> cases{
        {{"model.sublayers.attn.num_heads=6", "model.sublayers.attn.num_kv_heads=4"},
         "expected a divisor of num_heads (6), found 4; nearest: 3 or 6"},
        {{"model.sublayers.gdn.num_value_heads=3"},
         "expected a multiple of num_key_heads (2), found 3; nearest: 2 or 4"},
        {{"model.sublayers.gdn.num_value_heads=1"},
         "expected a multiple of num_key_heads (2), found 1; nearest: 2"},
        {{"model.sublayers.m={type: mamba2, num_heads: 4, head_dim: 4, state_size: 4, dt_limits: [0.1, "
          "0.01]}"},
         "model.sublayers.m.dt_limits: expected the smaller number first"},
        {{"model.sublayers.moe.experts_per_token=9"},
         "expected at most num_experts (8), found 9; nearest: 8"},
        {{"model.sublayers.moe.router.num_groups=3"},
         "model.sublayers.moe.router.num_groups: expected a divisor of num_experts (8), found 3; nearest: 2 "
         "or "
         "4"},
        {{"model.sublayers.moe.router={num_groups: 6, group_score: max}"},
         "expected a divisor of num_experts (8), found 6; nearest: 4 or 8"},
        {{"model.sublayers.moe.router={num_groups: 4, group_topk: 5}"},
         "model.sublayers.moe.router.group_topk: expected at most num_groups (4), found 5; nearest: 4"},
        {{"model.sublayers.moe.router.num_groups=8", "model.sublayers.moe.router.group_topk=2"},
         "model.sublayers.moe.router.group_score: expected max, as there is one expert in each of 8 groups "
         "of "
         "8, found top2_sum; nearest: max, or num_groups 4"},
        {{"model.sublayers.moe.router.num_groups=4", "model.sublayers.moe.experts_per_token=3"},
         "model.sublayers.moe.experts_per_token: expected at most the experts of router.group_topk (1) "
         "groups "
         "of num_experts / router.num_groups (2), found 3; nearest: 2, or router.group_topk 2"},
        {{"model.sublayers.attn.rope.fraction=0.3"},
         "expected fraction x head_dim (8) to be an even whole number, found 2.4; nearest: 0.25 or 0.5"},
        {{"model.sublayers.attn.rope.fraction=1", "model.sublayers.attn.head_dim=7"},
         "expected an even number, as all of it is rotated, found 7; nearest: 6 or 8"},
        {{"model.num_layers=6"}, "whole tiles of 4 layers, found 6; nearest: 4 or 8"},
        {{"train.stop_at=101"}, "train.stop_at: expected at most train.steps (100), found 101"},
        {{"optimizer.schedule.warmup_steps=101"},
         "expected warm-up and decay within train.steps (100), found 101 + 0; nearest: 100"},
        {{"optimizer.schedule.type=wsd", "optimizer.schedule.decay_steps=98"}, "found 5 + 98; nearest: 2"},
        {{"optimizer.schedule.type=wsd"}, "optimizer.schedule.decay_steps: required by schedule wsd"},
        {{"optimizer.schedule.min_lr=0.1"},
         "optimizer.schedule.min_lr: expected at most optimizer.lr (0.003), found 0.1"},
        {{"data.train=[]"}, "data.train: expected at least one file"},
        {{"optimizer.groups=[{sublayer: mo, lr_scale: 2}]"},
         "optimizer.groups.0.sublayer: expected a name in model.sublayers (attn, gdn or moe), found mo"},
        {{"optimizer.groups=[{layer: 3-4, lr_scale: 2}]"},
         "optimizer.groups.0.layer: expected layers from 0 to 3, found 4"},
        {{"optimizer.groups=[{lr_scale: 2}]"}, "expected role, sublayer, layer or name"},
        {{"optimizer.groups=[{role: nrom, lr_scale: 2}]"}, "did you mean norm?"},
        {{"model.norm={type: layer, zero_centered: true}"},
         "model.norm.zero_centered: expected false with LayerNorm, found true"},
        {{"model.norm.zero_centered=true", "model.sublayers.gdn.norm.type=layer"},
         "model.sublayers.gdn.norm.zero_centered: expected false with LayerNorm, found true"},
        {{"model.pattern=gdn+mo"},
         "model.pattern: expected a name in model.sublayers (attn, gdn or moe), found mo"},
        {{"model.sublayers.1x={type: mlp, size: 3}"}, "a name is up to 64 letters"},
        {{"model.sublayers.x={size: 3}"}, "model.sublayers.x.type: required, and left out"}};
    for (const auto& [overrides, message] : cases) EXPECT_THAT(refused(overrides), HasSubstr(message));
    EXPECT_NO_THROW(hybrid_run(
        {"model.norm.zero_centered=true", "model.sublayers.gdn.norm={type: layer, zero_centered: false}"}));
    EXPECT_NO_THROW(hybrid_run({"model.sublayers.unused={type: mlp, size: 3}"}));
    EXPECT_NO_THROW(
        hybrid_run({"model.sublayers.moe.router={num_groups: 8, group_topk: 2, group_score: max}"}));
}

TEST(run_config, biases_are_of_projections_that_are_there) {
    const std::vector<std::pair<std::vector<std::string>, std::string>> cases{
        {{"model.sublayers.attn.bias=[q, w]"},
         "model.sublayers.attn.bias: expected one of q, k, v, gate or out, found w"},
        {{"model.sublayers.attn.bias=true"}, "expected one of q, k, v, gate or out, found true"},
        {{"model.sublayers.attn.bias=[q, k, q]"},
         "model.sublayers.attn.bias: expected each projection once, found q twice; nearest: [q, k]"},
        {{"model.sublayers.attn.gate=none", "model.sublayers.attn.bias=[q, gate]"},
         "model.sublayers.attn.bias: expected projections that are there, found gate, although gate is none; "
         "nearest: [q]"},
        {{"model.sublayers.x={type: mla, num_heads: 2, kv_rank: 4, nope_head_dim: 4, rope_head_dim: 2, bias: "
          "[q_a]}"},
         "model.sublayers.x.bias: expected projections that are there, found q_a, although q_rank is 0; "
         "nearest: []"},
        {{"model.sublayers.x={type: mla, num_heads: 2, q_rank: 4, kv_rank: 4, nope_head_dim: 4, "
          "rope_head_dim: 2, bias: [out, q]}"},
         "found q, although with a q_rank queries come from q_a; nearest: [out]"},
        {{"model.sublayers.x={type: mlp, size: 3, bias: [gate]}"}, "expected one of up or down, found gate"},
        {{"model.sublayers.x={type: short_conv, bias: [conv, conv]}"}, "found conv twice; nearest: [conv]"},
        {{"model.sublayers.x={type: kimi_delta, num_heads: 2, key_head_dim: 4, bias: [out]}"},
         "model.sublayers.x.bias: expected gate, found out"},
        {{"model.sublayers.moe.shared_size=0", "model.sublayers.moe.shared_gate=null",
          "model.sublayers.moe.bias=[experts, shared]"},
         "model.sublayers.moe.bias: expected projections that are there, found shared, although shared_size "
         "is 0; nearest: [experts]"},
        {{"model.sublayers.attn.attention_bias=true"}, "did you mean model.sublayers.attn.bias?"},
        {{"model.sublayers.moe.mlp_bias=true"}, "did you mean model.sublayers.moe.bias?"},
        {{"model.add_bias_linear=true"},
         "did you mean model.sublayers.attn.bias or model.sublayers.moe.bias?"}};
    for (const auto& [overrides, message] : cases) EXPECT_THAT(refused(overrides), HasSubstr(message));
    using enum AttentionProjection;
    const auto of = [](const std::string& list) {
        return hybrid_run({"model.sublayers.attn.bias=" + list})
            .model.sublayers.at("attn")
            .kind.get<AttentionConfig>()
            .bias;
    };
    EXPECT_EQ(of("[out, k, q]"), (std::vector{q, k, out})); // in one order
    EXPECT_EQ(of("[]"), std::vector<AttentionProjection>());
    EXPECT_TRUE(numeric_differences(hybrid_run(), hybrid_run({"model.sublayers.attn.bias=[]"})).empty());
}

TEST(run_config, absurd_sizes_are_refused_before_memory_is_taken) {
    for (const std::string override :
         {"model.hidden_size=99999999999999999999", "model.hidden_size=1048577",
          "model.vocab_size=1000000000000", "model.num_layers=1000000000",
          "model.sublayers.moe.num_experts=1000000000", "train.sequence_length=1000000000000",
          "train.global_batch=1000000000000", "train.steps=1000000000000000", "model.pattern=(gdn*1000)*1000",
          "train.threads=1000000"})
        EXPECT_THAT(refused({override}), HasSubstr("expected")) << override;
    EXPECT_THAT(refused({"model.hidden_size=1048576", "model.sublayers.moe.num_experts=65536",
                         "model.sublayers.moe.expert_size=16777216"}),
                HasSubstr("expected a model of at most 1.1e+15 parameters"));
    EXPECT_THAT(refused({"train.steps=1000000000000", "train.global_batch=16777216",
                         "train.sequence_length=16777216"}),
                HasSubstr("train.steps: expected at most 2^60 tokens"));
}

TEST(run_config, sublayers_copy_each_other_with_like) {
    const RunConfig run =
        hybrid_run({"model.sublayers.wide={like: moe, expert_size: 32, router: {score: sigmoid}}"});
    const auto& wide = run.model.sublayers.at("wide").kind.get<MoeConfig>();
    EXPECT_EQ(wide.expert_size, 32);
    EXPECT_EQ(wide.num_experts, 8);
    EXPECT_EQ(wide.router.score, RouterScore::sigmoid);
    EXPECT_EQ(wide.router.aux_loss, 1e-3);
    // The fault of a copied key has one place, so it is one line.
    const std::string error =
        refused({"model.sublayers.moe.num_experts=x", "model.sublayers.wide={like: moe}"});
    EXPECT_EQ(std::count(error.begin(), error.end(), '\n'), 0) << error;
}

/// A run that uses lists, groups, edits, overrides of norm and init, odd texts and odd numbers.
RunConfig rich_run() {
    return hybrid_run(
        {"model.norm={placement: post, eps: 1.0e-5}",
         "model.pattern_tail=gdn+dense",
         "model.num_layers=5",
         "model.sublayers.dense={type: mlp, size: 24, activation: relu2, norm: {placement: sandwich, eps: "
         "1.0e-7}, init: "
         "{output: zero, std: 0.1}}",
         "model.layers=[{at: 0-1, replace: {moe: dense}, set: {gdn.conv_kernel: 3}}, {at: [3], set: "
         "{attn.qk_norm: "
         "full}}]",
         "optimizer.groups=[{role: [norm, bias], weight_decay: 0}, {sublayer: moe, layer: 0-2, name: "
         "\"*.router.*\", "
         "lr_scale: 0.5}]",
         "optimizer.schedule={type: wsd, decay_steps: 20, decay_shape: linear}",
         "optimizer.lr=0.1234567890123456789",
         "seed=18446744073709551615",
         "data.seed=5",
         "parallel={data: 3}",
         "data.train=[{path: \"yes\", weight: 0.3}, {path: \"a b: #1.h5\", weight: 1e-3}, {path: "
         "\"$${HOME}/x\"}]",
         "data.validation.null={path: \"1e3\"}",
         "name=1e3",
         "train.precision=f64",
         "train.threads=2",
         "model.tie_embeddings=true",
         "model.sublayers.moe.router.bias_update_rate=0.001",
         "model.sublayers.attn.bias=[q, k]",
         "model.sublayers.moe.router.bias=true"});
}

TEST(run_config, resolved_file_reads_back_identically) {
    for (const RunConfig& run :
         {hybrid_run(), rich_run(), hybrid_run({"model.sublayers.attn.rope={fraction: 0, theta: null}"}),
          hybrid_run({"optimizer.schedule={type: constant, min_lr: null}"})}) {
        const std::string text = to_yaml(run);
        EXPECT_EQ(parse_run_config(text, "config.yaml"), run) << text;
        EXPECT_EQ(to_yaml(parse_run_config(text, "config.yaml")), text);
    }
    // What follows another key still follows it after a round trip.
    const RunConfig again = parse_run_config(to_yaml(hybrid_run()), "config.yaml", {"name=other", "seed=9"});
    EXPECT_EQ(again.run_dir, "runs/other");
    EXPECT_EQ(again.data.seed, 9u);
}

TEST(run_config, resolved_file_reads_the_same_in_pyyaml) {
    const test::TemporaryFolder folder;
    test::write_file(folder / "config.yaml", to_yaml(rich_run()));
    const test::ProcessResult result = test::run_python(
        "import sys, json, yaml\nprint(json.dumps(yaml.safe_load(open(sys.argv[1], encoding='utf-8'))))",
        folder / "config.yaml");
    ASSERT_EQ(result.exit_code, 0) << result.output;
    const auto json = nlohmann::json::parse(result.output);
    EXPECT_EQ(json["name"], "1e3");
    EXPECT_EQ(json["seed"].get<uint64_t>(), UINT64_MAX);
    EXPECT_EQ(json["model"]["norm"]["eps"].get<double>(), 1e-5);
    EXPECT_TRUE(json["model"]["norm"]["eps"].is_number_float());
    EXPECT_EQ(json["model"]["hidden_size"], 32);
    EXPECT_EQ(json["model"]["tie_embeddings"], true);
    EXPECT_EQ(json["model"]["pattern"], "(gdn+moe)*3, attn+moe");
    EXPECT_EQ(json["model"]["layers"][0]["at"], "0-1");
    EXPECT_EQ(json["model"]["layers"][0]["set"]["gdn.conv_kernel"], 3);
    EXPECT_EQ(json["optimizer"]["lr"].get<double>(), 0.1234567890123456789);
    EXPECT_EQ(json["optimizer"]["groups"][1]["name"][0], "*.router.*");
    EXPECT_EQ(json["data"]["train"][0]["path"], "yes");
    EXPECT_EQ(json["data"]["train"][1]["path"], "a b: #1.h5");
    EXPECT_EQ(json["data"]["train"][1]["weight"].get<double>(), 1e-3);
    EXPECT_EQ(json["data"]["validation"]["null"]["path"], "1e3");
    EXPECT_EQ(json["train"]["device"], "auto");
    // Every value of every type: the tree PyYAML sees is the tree we wrote, scalar by scalar.
    const std::string ours = to_flow_yaml(run_schema().write(rich_run()));
    EXPECT_THAT(ours, HasSubstr("decay_shape: linear"));
    EXPECT_EQ(json["optimizer"]["schedule"]["decay_shape"], "linear");
}

TEST(run_config, differences_that_change_the_numbers) {
    const auto keys = [](const std::vector<ConfigDifference>& differences) {
        std::string text;
        for (const ConfigDifference& difference : differences)
            text += difference.key + " " + difference.old_value + " " + difference.new_value + "\n";
        return text;
    };
    const RunConfig run = hybrid_run();
    const RunConfig same = hybrid_run({"log.every=5", "checkpoint={every: 3, keep: 0}", "train.stop_at=5",
                                       "eval={every: 2, at_start: true}", "train.micro_batch=8",
                                       "parallel={data: 4}", "name=other", "train.threads=1",
                                       "train.recompute=layers", "data.validation.more={path: x.h5}",
                                       "train.device=cpu", "log.profile=true", "run_dir=elsewhere"});
    EXPECT_EQ(keys(numeric_differences(run, same)), "");
    EXPECT_GT(all_differences(run, same).size(), 12u);
    EXPECT_EQ(keys(numeric_differences(run, hybrid_run({"optimizer.lr=1e-3", "train.steps=50", "seed=8"}))),
              "seed 7 8\ntrain.steps 100 50\noptimizer.lr 0.003 0.001\ndata.seed 7 8\n");
    EXPECT_EQ(keys(numeric_differences(run, hybrid_run({"model.sublayers.moe.router.aux_loss=0",
                                                        "model.sublayers.moe.router.aux_scope=null"}))),
              "model.sublayers.moe.router.aux_loss 0.001 0.0\nmodel.sublayers.moe.router.aux_scope sequence "
              "(absent)\n");
    // Another spelling of the same layers is the same model.
    EXPECT_EQ(keys(numeric_differences(run, hybrid_run({"model.pattern=[gdn+moe, (gdn+moe)*2, attn+moe]",
                                                        "model.num_layers=null"}))),
              "");
    EXPECT_THAT(keys(numeric_differences(run, hybrid_run({"model.pattern=gdn+moe, attn+moe"}))),
                StartsWith("model.pattern "));
}

TEST(run_config, every_key_is_documented_once_and_the_page_is_current) {
    std::set<std::string> seen;
    for (const KeyDoc& doc : run_docs().keys) {
        EXPECT_TRUE(seen.insert(doc.path + doc.only_for).second) << doc.path << " is declared twice";
        EXPECT_FALSE(doc.help.empty()) << doc.path;
        EXPECT_EQ(doc.path.find_first_of(" "), std::string::npos);
    }
    EXPECT_GT(seen.size(), 90u);
    const std::string lines = key_lines();
    EXPECT_EQ(std::count(lines.begin(), lines.end(), '\n'), static_cast<int64_t>(run_docs().keys.size()));
    EXPECT_TRUE(test::read_file(BRAID_SOURCE_DIR "/docs/config.md") == config_reference())
        << "docs/config.md is not current; run: braid config keys --markdown > docs/config.md";
}

TEST(run_config, shipped_configs_are_valid) {
    int num_files = 0;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(BRAID_SOURCE_DIR "/configs")) {
        if (entry.path().extension() != ".yaml" ||
            entry.path().string().find("/sweeps/") != std::string::npos)
            continue;
        EXPECT_NO_THROW((void)read_run_config(entry.path().string())) << entry.path();
        ++num_files;
    }
    EXPECT_GE(num_files, 5);
}

} // namespace
} // namespace braid

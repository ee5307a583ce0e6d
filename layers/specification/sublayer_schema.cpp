#include <cmath>

#include "base/suggest.h"
#include "layers/specification/model_schema.h"

namespace braid {

namespace {

constexpr double kMaxHeads = 65'536, kMaxHeadDim = 65'536, kMaxSize = 16'777'216, kMaxExperts = 65'536;

constexpr std::string_view kActivations =
    "swish=silu relu=relu2 squaredrelu=relu2 relusquared=relu2 gegelu=geglu gated=swiglu";

/// "4 or 6": the whole numbers nearest to `found` that divide `whole`.
std::string nearest_divisors(int64_t whole, int64_t found) {
    int64_t below = 0, above = 0;
    for (int64_t d = 1; d <= whole; ++d) {
        if (whole % d != 0) continue;
        if (d < found) below = d;
        if (d > found && above == 0) above = d;
    }
    std::vector<std::string> choices;
    if (below > 0) choices.push_back(std::to_string(below));
    if (above > 0) choices.push_back(std::to_string(above));
    return join_choices(choices);
}

const Schema<RopeConfig>& rope_schema() {
    static const Schema<RopeConfig> schema =
        Schema<RopeConfig>()
            .key("theta", &RopeConfig::theta,
                 {.help = "base of the rotation frequencies",
                  .above = 0,
                  .aliases = {"rope_theta", "rotary_base"}})
            .key("fraction", &RopeConfig::fraction,
                 {.help = "share of head_dim that is rotated; 0 means no position encoding",
                  .min = 0,
                  .max = 1,
                  .aliases = {"partial_rotary_factor", "rotary_percent", "rope_fraction"}})
            .pointless("theta", "fraction is 0, so nothing is rotated",
                       [](const RopeConfig& r) { return r.fraction == 0; })
            .example("{theta: 10000, fraction: 0.5}");
    return schema;
}

/// The rotation turns pairs of elements.
void check_rotation(const AttentionConfig& a, SectionCheck& check) {
    const double head_dim = static_cast<double>(a.head_dim);
    const double rotated = a.rope.fraction * head_dim;
    if (std::abs(rotated - 2 * std::round(rotated / 2)) <= 1e-9 * rotated) return;
    if (a.rope.fraction == 1)
        return check.fail(
            "head_dim",
            fmt::format("expected an even number, as all of it is rotated, found {}; nearest: {}", a.head_dim,
                        a.head_dim == 1 ? "2" : fmt::format("{} or {}", a.head_dim - 1, a.head_dim + 1)));
    std::vector<std::string> nearest{fmt::format("{}", 2 * std::floor(rotated / 2) / head_dim)};
    if (2 * std::ceil(rotated / 2) <= head_dim)
        nearest.push_back(fmt::format("{}", 2 * std::ceil(rotated / 2) / head_dim));
    check.fail(
        "rope.fraction",
        fmt::format("expected fraction x head_dim ({}) to be an even whole number, found {}; nearest: {}",
                    a.head_dim, rotated, join_choices(nearest)));
}

void check_attention(const AttentionConfig& a, SectionCheck& check) {
    if (a.num_heads % a.num_kv_heads != 0)
        check.fail("num_kv_heads",
                   fmt::format("expected a divisor of num_heads ({}), found {}; nearest: {}", a.num_heads,
                               a.num_kv_heads, nearest_divisors(a.num_heads, a.num_kv_heads)));
    check_rotation(a, check);
}

const Schema<AttentionConfig>& attention_schema() {
    static const Schema<AttentionConfig> schema =
        Schema<AttentionConfig>()
            .key("num_heads", &AttentionConfig::num_heads,
                 {.help = "query heads",
                  .min = 1,
                  .max = kMaxHeads,
                  .required = true,
                  .aliases = {"num_attention_heads", "n_heads", "n_head", "attention_heads"}})
            .key("num_kv_heads", &AttentionConfig::num_kv_heads,
                 {.help = "key and value heads; a divisor of num_heads",
                  .min = 1,
                  .max = kMaxHeads,
                  .default_text = "num_heads",
                  .aliases = {"num_query_groups", "num_key_value_heads", "n_kv_heads", "num_kv_head"}})
            .key("head_dim", &AttentionConfig::head_dim,
                 {.help = "size of a head",
                  .min = 1,
                  .max = kMaxHeadDim,
                  .required = true,
                  .aliases = {"kv_channels", "head_size", "d_head"}})
            .key("qk_norm", &AttentionConfig::qk_norm,
                 {.help = "norm on queries and keys before the rotation: over each head, or over all heads "
                          "at once",
                  .aliases = {"qk_layernorm", "use_qk_norm"},
                  .synonyms = "true=per_head head=per_head rms=per_head rmsnorm=per_head false=none"})
            .key("gate", &AttentionConfig::gate,
                 {.help =
                      "sigmoid gate on the output before its projection: none, one per head, one per element",
                  .aliases = {"attention_output_gate", "attn_output_gate"},
                  .synonyms = "true=elementwise element=elementwise perhead=head headwise=head false=none"})
            .section("rope", &AttentionConfig::rope, rope_schema(), "rotary position encoding")
            .key("window", &AttentionConfig::window,
                 {.help = "a token sees itself and the window - 1 tokens before it; 0 means all before it",
                  .min = 0,
                  .max = kMaxSize,
                  .aliases = {"sliding_window", "window_size"}})
            .not_built({"sinks", "bias", "softcap"})
            .finish([](AttentionConfig& a, SectionCheck&) {
                if (a.num_kv_heads == 0) a.num_kv_heads = a.num_heads;
            })
            .rule("num_kv_heads divides num_heads; rope.fraction x head_dim is an even whole number",
                  check_attention);
    return schema;
}

void check_gated_delta_net(const GatedDeltaNetConfig& g, SectionCheck& check) {
    if (g.num_value_heads % g.num_key_heads == 0) return;
    check.fail(
        "num_value_heads",
        fmt::format("expected a multiple of num_key_heads ({}), found {}; nearest: {}", g.num_key_heads,
                    g.num_value_heads,
                    g.num_value_heads < g.num_key_heads
                        ? std::to_string(g.num_key_heads)
                        : fmt::format("{} or {}", g.num_value_heads / g.num_key_heads * g.num_key_heads,
                                      (g.num_value_heads / g.num_key_heads + 1) * g.num_key_heads)));
}

const Schema<GatedDeltaNetConfig>& gated_delta_net_schema() {
    using G = GatedDeltaNetConfig;
    static const Schema<G> schema =
        Schema<G>()
            .key("num_key_heads", &G::num_key_heads,
                 {.help = "query and key heads",
                  .min = 1,
                  .max = kMaxHeads,
                  .required = true,
                  .aliases = {"linear_num_key_heads"}})
            .key("num_value_heads", &G::num_value_heads,
                 {.help = "value heads, each with its own state; a multiple of num_key_heads",
                  .min = 1,
                  .max = kMaxHeads,
                  .required = true,
                  .aliases = {"linear_num_value_heads"}})
            .key("key_head_dim", &G::key_head_dim,
                 {.help = "size of a query or key head",
                  .min = 1,
                  .max = kMaxHeadDim,
                  .required = true,
                  .aliases = {"linear_key_head_dim"}})
            .key("value_head_dim", &G::value_head_dim,
                 {.help = "size of a value head",
                  .min = 1,
                  .max = kMaxHeadDim,
                  .required = true,
                  .aliases = {"linear_value_head_dim"}})
            .key("conv_kernel", &G::conv_kernel,
                 {.help = "taps of the causal convolution on queries, keys and values",
                  .min = 1,
                  .max = 64,
                  .aliases = {"linear_conv_kernel_dim", "conv_size", "linear_conv_kernel"}})
            .rule("num_key_heads divides num_value_heads", check_gated_delta_net);
    return schema;
}

const Schema<MlpConfig>& mlp_schema() {
    static const Schema<MlpConfig> schema =
        Schema<MlpConfig>()
            .key("size", &MlpConfig::size,
                 {.help = "hidden size of the MLP",
                  .min = 1,
                  .max = kMaxSize,
                  .required = true,
                  .aliases = {"ffn_hidden_size", "intermediate_size", "hidden_dim", "mlp_hidden_size"}})
            .key("activation", &MlpConfig::activation,
                 {.help = "swiglu and geglu are gated",
                  .aliases = {"hidden_act", "activation_func", "hidden_activation"},
                  .synonyms = kActivations})
            .not_built({"clamp", "bias"});
    return schema;
}

const Schema<RouterConfig>& router_schema() {
    using R = RouterConfig;
    static const Schema<R> schema =
        Schema<R>()
            .key("score", &R::score,
                 {.help = "how logits become scores",
                  .aliases = {"moe_router_score_function", "score_func", "scoring_func", "score_function"}})
            .key("normalize", &R::normalize,
                 {.help = "divide the weights of a token's experts by their sum",
                  .aliases = {"norm_topk_prob", "route_norm", "normalize_expert_weights"}})
            .key("scale", &R::scale,
                 {.help = "factor on the weights, after normalising",
                  .above = 0,
                  .aliases = {"moe_router_topk_scaling_factor", "routed_scaling_factor", "route_scale"}})
            .key("aux_loss", &R::aux_loss,
                 {.help = "weight of the balancing loss",
                  .min = 0,
                  .aliases = {"moe_aux_loss_coeff", "router_aux_loss_coef", "lb_loss_weight",
                              "load_balance_coeff", "aux_loss_coef"}})
            .key("aux_scope", &R::aux_scope,
                 {.help = "tokens over which it counts expert fractions: a sequence, the previous step, this "
                          "step's batch",
                  .aliases = {"moe_router_load_balancing_type"}})
            .key("z_loss", &R::z_loss,
                 {.help = "weight of the mean squared logsumexp of the router's logits",
                  .min = 0,
                  .aliases = {"moe_z_loss_coeff", "router_z_loss_coef", "z_loss_weight"}})
            .key("bias_update_rate", &R::bias_update_rate,
                 {.help = "step of the selection bias that balances without a loss; 0 means no bias",
                  .min = 0,
                  .max = 1,
                  .aliases = {"moe_router_bias_update_rate", "moe_router_enable_expert_bias",
                              "bias_update_speed", "bias_gamma"}})
            .not_built({"num_groups", "group_topk"})
            .pointless("aux_scope", "aux_loss is 0, so there is no balancing loss",
                       [](const R& r) { return r.aux_loss == 0; })
            .example("{score: softmax, aux_loss: 1.0e-3}");
    return schema;
}

void check_moe(const MoeConfig& m, SectionCheck& check) {
    if (m.experts_per_token > m.num_experts)
        check.fail("experts_per_token",
                   fmt::format("expected at most num_experts ({}), found {}; nearest: {}", m.num_experts,
                               m.experts_per_token, m.num_experts));
}

const Schema<MoeConfig>& moe_schema() {
    using M = MoeConfig;
    static const Schema<M> schema =
        Schema<M>()
            .key("num_experts", &M::num_experts,
                 {.help = "routed experts",
                  .min = 1,
                  .max = kMaxExperts,
                  .required = true,
                  .aliases = {"num_moe_experts", "n_routed_experts", "num_local_experts"}})
            .key("experts_per_token", &M::experts_per_token,
                 {.help = "experts that each token goes to",
                  .min = 1,
                  .max = kMaxExperts,
                  .required = true,
                  .aliases = {"moe_router_topk", "num_experts_per_tok", "top_k", "topk", "moe_topk"}})
            .key("expert_size", &M::expert_size,
                 {.help = "hidden size of an expert",
                  .min = 1,
                  .max = kMaxSize,
                  .required = true,
                  .aliases = {"moe_ffn_hidden_size", "moe_intermediate_size", "moe_inter_dim"}})
            .key("shared_size", &M::shared_size,
                 {.help = "hidden size of the expert that every token goes to; 0 means none",
                  .min = 0,
                  .max = kMaxSize,
                  .aliases = {"moe_shared_expert_intermediate_size", "shared_expert_intermediate_size"}})
            .key("shared_gate", &M::shared_gate,
                 {.help = "a learned sigmoid gate on the shared expert",
                  .aliases = {"moe_shared_expert_gate"}})
            .key("activation", &M::activation,
                 {.help = "of all experts; swiglu and geglu are gated", .synonyms = kActivations})
            .key("piece_tokens", &M::piece_tokens,
                 {.help = "most tokens that a rank's experts work on at once: of more, backward computes the "
                          "experts anew piece by piece, which costs time instead of memory; 0 is no bound",
                  .min = 0,
                  .max = kMaxSize,
                  .changes_numbers = false})
            .key("receive_tokens", &M::receive_tokens,
                 {.help = "most tokens that may come to a rank's experts from all ranks in one micro-batch; "
                          "more end the job with exit code 5 and a table of the load; 0 is no bound",
                  .min = 0,
                  .max = kMaxSize,
                  .changes_numbers = false})
            .section("router", &M::router, router_schema(), "how tokens choose experts")
            .not_built({"clamp", "capacity_factor", "bias"})
            .pointless("shared_gate", "shared_size is 0, so there is no shared expert",
                       [](const M& m) { return m.shared_size == 0; })
            .rule("experts_per_token is at most num_experts", check_moe);
    return schema;
}

const Schema<NormOverride>& norm_override_schema() {
    static const Schema<NormOverride> schema =
        Schema<NormOverride>()
            .key("type", &NormOverride::type,
                 {.help = "instead of model.norm.type", .default_text = "model.norm.type"})
            .key("placement", &NormOverride::placement,
                 {.help = "instead of model.norm.placement", .default_text = "model.norm.placement"})
            .key("zero_centered", &NormOverride::zero_centered,
                 {.help = "instead of model.norm.zero_centered", .default_text = "model.norm.zero_centered"})
            .key("eps", &NormOverride::eps,
                 {.help = "instead of model.norm.eps",
                  .above = 0,
                  .max = 1,
                  .default_text = "model.norm.eps"});
    return schema;
}

const Schema<InitOverride>& init_override_schema() {
    static const Schema<InitOverride> schema =
        Schema<InitOverride>()
            .key("std", &InitOverride::std,
                 {.help = "instead of model.init.std",
                  .above = 0,
                  .max = 100,
                  .default_text = "model.init.std"})
            .key("distribution", &InitOverride::distribution,
                 {.help = "instead of model.init.distribution", .default_text = "model.init.distribution"})
            .key("output", &InitOverride::output,
                 {.help = "instead of model.init.output", .default_text = "model.init.output"})
            .key("decay", &InitOverride::decay,
                 {.help =
                      "gated_delta_net: time steps start at about 1.3 with bias 1, or log-uniform from 0.001 "
                      "to 0.1",
                  .default_text = "constant_dt"})
            .key(
                "a_range", &InitOverride::a_range,
                {.help = "gated_delta_net: A, which the decay is exp(-A dt) of, starts uniform between these",
                 .above = 0,
                 .max = 1e6,
                 .default_text = "[0.01, 16]",
                 .example = "[1, 16]"});
    return schema;
}

void check_init(const SublayerConfig& sublayer, SectionCheck& check) {
    const InitOverride& init = sublayer.init;
    for (const auto& [key, given] : {std::pair("init.decay", init.decay.has_value()),
                                     std::pair("init.a_range", init.a_range.has_value())})
        if (given && sublayer.type() != SublayerType::gated_delta_net)
            check.fail(
                key,
                fmt::format(
                    "has no effect: only sublayers of type gated_delta_net decay; remove it ({}=null)", key));
    if (init.a_range && (*init.a_range)[0] > (*init.a_range)[1])
        check.fail("init.a_range", "expected the smaller number first");
}

} // namespace

const Schema<SublayerConfig>& sublayer_schema() {
    using S = SublayerConfig;
    static const Schema<S> schema =
        Schema<S>()
            .alternatives(
                "type", &S::kind, SublayerType{},
                {.help = "what the sublayer computes",
                 .not_built = {"mla", "kimi_delta", "mamba2"},
                 .synonyms = "deltanet=gated_delta_net gdn=gated_delta_net linearattention=gated_delta_net "
                             "linear=gated_delta_net mha=attention gqa=attention mqa=attention "
                             "attn=attention full=attention fullattention=attention softmax=attention "
                             "ffn=mlp feedforward=mlp dense=mlp swiglu=mlp experts=moe "
                             "mixtureofexperts=moe"},
                attention_schema(), gated_delta_net_schema(), mlp_schema(), moe_schema())
            .documented("like", "name of another sublayer",
                        "copy its keys; the keys beside `like` change the copy")
            .section("norm", &S::norm, norm_override_schema(), "changes to model.norm for this sublayer")
            .section("init", &S::init, init_override_schema(), "changes to model.init for this sublayer")
            .rule(
                "init.decay and init.a_range are of type gated_delta_net; a_range has the smaller number "
                "first",
                check_init)
            .example("{type: mlp, size: 512}");
    return schema;
}

} // namespace braid

#include <algorithm>
#include <cmath>

#include "base/suggest.h"
#include "layers/mixers/attention.h"
#include "layers/sublayer/biases.h"

namespace braid {
namespace {

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
    check_biases<AttentionProjection>(a.bias, check, [&](AttentionProjection projection) {
        return projection == AttentionProjection::gate && a.gate == AttentionGate::none
                   ? std::string("gate is none")
                   : std::string();
    });
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
            .key("bias", &AttentionConfig::bias,
                 {.help = "projections with a bias",
                  .default_text = "[]",
                  .aliases = {"attention_bias", "qkv_bias", "add_qkv_bias", "use_bias", "add_bias_linear",
                              "use_qkv_bias", "attn_bias"},
                  .example = "[q, k, v]"})
            .not_built({"sinks", "softcap"})
            .finish([](AttentionConfig& a, SectionCheck&) {
                if (a.num_kv_heads == 0) a.num_kv_heads = a.num_heads;
                sort_biases(a.bias);
            })
            .rule(
                "num_kv_heads divides num_heads; rope.fraction x head_dim is an even whole number; bias "
                "names projections that are there, each once",
                check_attention);
    return schema;
}

void shrink(AttentionConfig& a) {
    shrink_heads(a.num_kv_heads, a.num_heads);
    a.head_dim = 8;
    if (a.window > 0) a.window = std::min<int64_t>(a.window, 5);
    // An even number of the eight dimensions turns.
    a.rope.fraction = a.rope.fraction > 0 ? std::max(0.25, std::min(1.0, a.rope.fraction)) : 0;
}

std::vector<SublayerType::Example> attention_examples() {
    AttentionConfig half_turned{.num_heads = 4, .num_kv_heads = 2, .head_dim = 4};
    half_turned.rope.fraction = 0.5;
    AttentionConfig gated = half_turned;
    gated.qk_norm = QkNorm::per_head;
    gated.gate = AttentionGate::elementwise;
    AttentionConfig windowed{.num_heads = 4, .num_kv_heads = 2, .head_dim = 4};
    windowed.qk_norm = QkNorm::full;
    windowed.gate = AttentionGate::head;
    windowed.window = 3;
    windowed.rope.fraction = 0;
    AttentionConfig long_texts{.num_heads = 2, .num_kv_heads = 1, .head_dim = 12};
    long_texts.rope = {.theta = 100, .pairing = ops::RopePairing::interleaved};
    long_texts.rope.scaling = {
        .type = ops::RopeScalingType::yarn, .factor = 4, .original_length = 40, .beta_fast = 3};
    using enum AttentionProjection;
    AttentionConfig biased{.num_heads = 4, .num_kv_heads = 1, .head_dim = 2};
    biased.gate = AttentionGate::elementwise;
    biased.bias = {q, k, v, gate, out};
    AttentionConfig some_biased = windowed; // heads' gates, and a norm over what has a bias
    some_biased.bias = {k, gate};
    return {{"attention", half_turned},          {"attention_per_head_gated", gated},
            {"attention_full_window", windowed}, {"attention_yarn_interleaved", long_texts},
            {"attention_bias", biased},          {"attention_some_bias", some_biased}};
}

/// A mean over a width that ranks share would need one more sum over them than an RMSNorm does.
std::string refusal(const ResolvedSublayer& sublayer, const RankGrid& grid) {
    if (sublayer.config.kind.get<AttentionConfig>().qk_norm != QkNorm::full ||
        sublayer.norm.type != NormType::layer || grid.tensor.size == 1)
        return "";
    return fmt::format(
        "qk_norm: full with a LayerNorm cannot be shared out over parallel.tensor: {}; use norm.type: rms or "
        "tensor: 1",
        grid.tensor.size);
}

} // namespace

SublayerType attention_type() {
    SublayerType type = describe_sublayer<AttentionConfig, AttentionLayer>("attention", attention_schema(),
                                                                           shrink, attention_examples());
    type.synonyms = "mha gqa mqa attn full fullattention softmax";
    type.refusal = refusal;
    return type;
}

} // namespace braid

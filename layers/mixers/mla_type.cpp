#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "layers/mixers/mla.h"
#include "layers/sublayer/biases.h"

namespace braid {
namespace {

void check_mla_rotation(const MlaConfig& m, SectionCheck& check) {
    const double rotated = m.rope.fraction * static_cast<double>(m.rope_head_dim);
    if (std::abs(rotated - 2 * std::round(rotated / 2)) <= 1e-9 * rotated) return;
    if (m.rope.fraction == 1)
        return check.fail("rope_head_dim",
                          fmt::format("expected an even number, as all of it is rotated, found {}; nearest: "
                                      "{} or {}",
                                      m.rope_head_dim, m.rope_head_dim - 1, m.rope_head_dim + 1));
    check.fail("rope.fraction",
               fmt::format("expected fraction x rope_head_dim ({}) to be an even whole number, found {}; "
                           "nearest: {}",
                           m.rope_head_dim, rotated,
                           2 * std::round(rotated / 2) / static_cast<double>(m.rope_head_dim)));
}

std::string missing_projection(const MlaConfig& m, MlaProjection projection) {
    if (projection == MlaProjection::q && m.q_rank > 0) return "with a q_rank queries come from q_a";
    if (projection == MlaProjection::q_a && m.q_rank == 0) return "q_rank is 0";
    return "";
}

const Schema<MlaConfig>& mla_schema() {
    using M = MlaConfig;
    static const Schema<M> schema =
        Schema<M>()
            .key("num_heads", &M::num_heads,
                 {.help = "query, key and value heads",
                  .min = 1,
                  .max = kMaxHeads,
                  .required = true,
                  .aliases = {"num_attention_heads"}})
            .key("q_rank", &M::q_rank,
                 {.help = "size of the latent that queries come from; 0: they come from the stream",
                  .min = 0,
                  .max = kMaxSize,
                  .aliases = {"q_lora_rank"}})
            .key("kv_rank", &M::kv_rank,
                 {.help = "size of the latent that keys and values come from",
                  .min = 1,
                  .max = kMaxSize,
                  .required = true,
                  .aliases = {"kv_lora_rank"}})
            .key("nope_head_dim", &M::nope_head_dim,
                 {.help = "size of a query or key head without position",
                  .min = 1,
                  .max = kMaxHeadDim,
                  .required = true,
                  .aliases = {"qk_nope_head_dim"}})
            .key("rope_head_dim", &M::rope_head_dim,
                 {.help = "numbers that a head's query and the one key of all heads have beside it, which "
                          "rope turns",
                  .min = 0,
                  .max = kMaxHeadDim,
                  .required = true,
                  .aliases = {"qk_rope_head_dim", "qk_pos_emb_head_dim"}})
            .key("value_head_dim", &M::value_head_dim,
                 {.help = "size of a value head",
                  .min = 1,
                  .max = kMaxHeadDim,
                  .default_text = "nope_head_dim",
                  .aliases = {"v_head_dim"}})
            .key("latent_norm_eps", &M::latent_norm_eps,
                 {.help = "eps of the norms of the latents",
                  .above = 0,
                  .max = 1,
                  .default_text = "that of the sublayer's norms"})
            .key("gate", &M::gate,
                 {.help =
                      "sigmoid gate on the output before its projection: none, one per head, one per element",
                  .synonyms = "true=elementwise element=elementwise perhead=head headwise=head false=none"})
            .key("score_scale", &M::score_scale,
                 {.help = "of the products of queries and keys",
                  .above = 0,
                  .default_text = "1 / sqrt(nope_head_dim + rope_head_dim)",
                  .aliases = {"softmax_scale"}})
            .key("mscale", &M::mscale,
                 {.help = "with YaRN, score_scale grows by (0.1 mscale ln(factor) + 1)²; rotated queries and "
                          "keys are not multiplied then, unless attention_factor says so",
                  .min = 0,
                  .aliases = {"mscale_all_dim"}})
            .section("rope", &M::rope, rope_schema(), "rotary position encoding of rope_head_dim")
            .key("bias", &M::bias,
                 {.help = "projections with a bias: to queries where q_rank is 0, to the latents of queries "
                          "and of keys and values, and the last",
                  .default_text = "[]",
                  .aliases = {"attention_bias", "use_bias", "add_bias_linear", "attn_bias"},
                  .example = "[q_a, kv_a, out]"})
            .not_built({"gate_activation"})
            .pointless("mscale", "rope.scaling.type is not yarn",
                       [](const M& m) { return m.rope.scaling.type != ops::RopeScalingType::yarn; })
            .pointless("rope", "rope_head_dim is 0, so nothing is rotated",
                       [](const M& m) { return m.rope_head_dim == 0; })
            .finish([](M& m, SectionCheck&) {
                if (m.value_head_dim == 0) m.value_head_dim = m.nope_head_dim;
                sort_biases(m.bias);
            })
            .rule(std::string(kBiasRule),
                  [](const M& m, SectionCheck& check) {
                      check_biases<MlaProjection>(m.bias, check,
                                                  [&](MlaProjection p) { return missing_projection(m, p); });
                  })
            .rule("rope.fraction x rope_head_dim is an even whole number", check_mla_rotation);
    return schema;
}

void shrink(MlaConfig& m) {
    m.num_heads = std::min<int64_t>(m.num_heads, 4);
    if (m.q_rank > 0) m.q_rank = 6;
    m.kv_rank = m.nope_head_dim = 8;
    m.value_head_dim = m.value_head_dim == m.nope_head_dim ? 8 : 6;
    if (m.rope_head_dim > 0) m.rope_head_dim = 4;
    if (m.rope.fraction > 0 && m.rope.fraction < 1) m.rope.fraction = 0.5; // an even number turns
}

std::vector<SublayerType::Example> mla_examples() {
    const MlaConfig plain{
        .num_heads = 2, .kv_rank = 5, .nope_head_dim = 3, .rope_head_dim = 4, .value_head_dim = 4};
    MlaConfig low_rank = plain;
    low_rank.q_rank = 3;
    low_rank.latent_norm_eps = 1e-2;
    low_rank.gate = AttentionGate::elementwise;
    low_rank.mscale = 0.8;
    low_rank.rope.theta = 100;
    low_rank.rope.scaling = {
        .type = ops::RopeScalingType::yarn, .factor = 4, .original_length = 40, .beta_fast = 3};
    MlaConfig unturned = plain; // the form of Kimi Linear
    unturned.rope.fraction = 0;
    unturned.gate = AttentionGate::head;
    unturned.score_scale = 0.3;
    MlaConfig own_keys = plain;
    own_keys.q_rank = 4;
    own_keys.rope_head_dim = 0;
    own_keys.value_head_dim = 3;
    MlaConfig biased = plain;
    biased.bias = {MlaProjection::q, MlaProjection::out};
    MlaConfig latents_biased = low_rank;
    latents_biased.bias = {MlaProjection::q_a, MlaProjection::kv_a, MlaProjection::out};
    return {{"mla", plain},
            {"mla_low_rank", low_rank},
            {"mla_unturned", unturned},
            {"mla_own_keys", own_keys},
            {"mla_bias", biased},
            {"mla_latent_bias", latents_biased}};
}

} // namespace

SublayerType mla_type() {
    SublayerType type = describe_sublayer<MlaConfig, MlaLayer>("mla", mla_schema(), shrink, mla_examples());
    type.synonyms = "multiheadlatentattention latentattention latent";
    return type;
}

} // namespace braid

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "layers/mixers/lightning.h"

namespace braid {
namespace {

void check_lightning(const LightningConfig& l, SectionCheck& check) {
    if (l.num_heads % l.norm_groups != 0)
        check.fail("norm_groups",
                   fmt::format("expected a divisor of num_heads ({}), found {}", l.num_heads, l.norm_groups));
    const double rotated = l.rope.fraction * static_cast<double>(l.key_head_dim);
    if (std::abs(rotated - 2 * std::round(rotated / 2)) > 1e-9 * rotated)
        check.fail("rope.fraction",
                   fmt::format("expected fraction x key_head_dim ({}) to be an even whole number, found {}; "
                               "nearest: {}",
                               l.key_head_dim, rotated,
                               2 * std::floor(rotated / 2) / static_cast<double>(l.key_head_dim)));
}

const Schema<LightningConfig>& lightning_schema() {
    using L = LightningConfig;
    static const Schema<L> schema =
        Schema<L>()
            .key("num_heads", &L::num_heads,
                 {.help = "query, key and value heads", .min = 1, .max = kMaxHeads, .required = true})
            .key("key_head_dim", &L::key_head_dim,
                 {.help = "size of a query or key head", .min = 1, .max = kMaxHeadDim, .required = true})
            .key("value_head_dim", &L::value_head_dim,
                 {.help = "size of a value head",
                  .min = 1,
                  .max = kMaxHeadDim,
                  .default_text = "key_head_dim"})
            .key("qk_norm", &L::qk_norm, {.help = "norm on each query and key head before the rotation"})
            .section("rope", &L::rope, rope_schema(), "rotary position encoding")
            .key(
                "decay", &L::decay,
                {.help = "how fast heads forget: slower from head to head and towards the last layer, or, as "
                         "in RetNet, from head to head alone"})
            .key("gate", &L::gate, {.help = "sigmoid gate on each element of the normed output"})
            .key("norm_groups", &L::norm_groups,
                 {.help = "groups of heads whose output is normed together",
                  .min = 1,
                  .max = kMaxHeads,
                  .default_text = "num_heads",
                  .aliases = {"group_norm_size"}})
            .finish([](L& l, SectionCheck&) {
                if (l.value_head_dim == 0) l.value_head_dim = l.key_head_dim;
                if (l.norm_groups == 0) l.norm_groups = l.num_heads;
            })
            .rule("norm_groups divides num_heads; rope.fraction x key_head_dim is an even whole number",
                  check_lightning);
    return schema;
}

void shrink(LightningConfig& l) {
    const bool by_head = l.norm_groups == l.num_heads;
    shrink_heads(l.norm_groups, l.num_heads);
    if (by_head) l.norm_groups = l.num_heads;
    l.key_head_dim = l.value_head_dim = 8;
    if (l.rope.fraction > 0) l.rope.fraction = std::max(0.25, l.rope.fraction); // an even number turns
    if (l.rope.fraction < 1) l.rope.fraction = std::round(l.rope.fraction * 4) / 4;
}

std::vector<SublayerType::Example> lightning_examples() {
    const LightningConfig plain{.num_heads = 4, .key_head_dim = 3, .value_head_dim = 5, .norm_groups = 4};
    LightningConfig other{.num_heads = 4, .key_head_dim = 4, .value_head_dim = 3, .qk_norm = true};
    other.rope.fraction = 0.5;
    other.decay = LightningDecay::retnet;
    other.gate = false;
    other.norm_groups = 2;
    return {{"lightning", plain}, {"lightning_retnet", other}};
}

} // namespace

SublayerType lightning_type() {
    SublayerType type = describe_sublayer<LightningConfig, LightningLayer>("lightning", lightning_schema(),
                                                                           shrink, lightning_examples());
    type.synonyms = "lightningattention retnet retention simplegla";
    return type;
}

} // namespace braid

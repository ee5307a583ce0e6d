#include "layers/mixers/kimi_delta.h"
#include "layers/sublayer/biases.h"

namespace braid {
namespace {

const Schema<KimiDeltaConfig>& kimi_delta_schema() {
    using K = KimiDeltaConfig;
    static const Schema<K> schema =
        Schema<K>()
            .key("num_heads", &K::num_heads,
                 {.help = "query, key and value heads", .min = 1, .max = kMaxHeads, .required = true})
            .key("key_head_dim", &K::key_head_dim,
                 {.help = "size of a query or key head", .min = 1, .max = kMaxHeadDim, .required = true})
            .key("value_head_dim", &K::value_head_dim,
                 {.help = "size of a value head",
                  .min = 1,
                  .max = kMaxHeadDim,
                  .default_text = "key_head_dim"})
            .key("conv_kernel", &K::conv_kernel,
                 {.help = "taps of the causal convolution on queries, keys and values",
                  .min = 1,
                  .max = 64,
                  .aliases = {"short_conv_kernel_size"}})
            .key("decay_rank", &K::decay_rank,
                 {.help = "rank of the projection to decays; 0 is a full projection",
                  .min = 0,
                  .max = kMaxSize,
                  .default_text = "key_head_dim"})
            .key("decay_bound", &K::decay_bound,
                 {.help = "bound of a token's log decay, such as -5; 0 is none: decays of softplus, not of "
                          "sigmoid",
                  .min = -1000,
                  .max = 0,
                  .aliases = {"gate_lower_bound"}})
            .key("gate_rank", &K::gate_rank,
                 {.help = "rank of the projection to output gates; 0 is a full projection",
                  .min = 0,
                  .max = kMaxSize,
                  .default_text = "value_head_dim"})
            .key("negative_eigenvalues", &K::negative_eigenvalues,
                 {.help = "beta between 0 and 2 instead of 0 and 1", .aliases = {"allow_neg_eigval"}})
            .key("output_norm_eps", &K::output_norm_eps,
                 {.help = "eps of the norm of each head's output",
                  .above = 0,
                  .max = 1,
                  .default_text = "that of the sublayer's norms"})
            .key("bias", &K::bias,
                 {.help = "projections with a bias: that to output gates, the last of two where gate_rank is "
                          "not 0",
                  .default_text = "[]",
                  .example = "[gate]"})
            .finish([](K& k, SectionCheck&) {
                if (k.value_head_dim == 0) k.value_head_dim = k.key_head_dim;
            })
            .rule(std::string(kBiasRule),
                  [](const K& k, SectionCheck& check) { check_biases(k.bias, check); });
    return schema;
}

void shrink(KimiDeltaConfig& k) {
    k.num_heads = std::min<int64_t>(k.num_heads, 4);
    k.key_head_dim = k.value_head_dim = 8;
    if (k.decay_rank.value_or(1) > 0) k.decay_rank = 4;
    if (k.gate_rank.value_or(1) > 0) k.gate_rank = 4;
}

std::vector<SublayerType::Example> kimi_delta_examples() {
    const KimiDeltaConfig plain{
        .num_heads = 2, .key_head_dim = 3, .value_head_dim = 5, .conv_kernel = 3, .decay_rank = 2};
    KimiDeltaConfig bounded = plain;
    bounded.decay_bound = -5;
    bounded.gate_rank = 0;
    bounded.decay_rank = 0;
    bounded.negative_eigenvalues = true;
    bounded.output_norm_eps = 1e-2;
    KimiDeltaConfig biased = plain;
    biased.bias = {KimiDeltaProjection::gate};
    KimiDeltaConfig full_gate_biased = biased;
    full_gate_biased.gate_rank = 0;
    return {{"kimi_delta", plain},
            {"kimi_delta_bounded", bounded},
            {"kimi_delta_bias", biased},
            {"kimi_delta_full_gate_bias", full_gate_biased}};
}

} // namespace

SublayerType kimi_delta_type() {
    SublayerType type = describe_sublayer<KimiDeltaConfig, KimiDeltaLayer>("kimi_delta", kimi_delta_schema(),
                                                                           shrink, kimi_delta_examples());
    type.synonyms = "kda kimilinear kimideltaattention";
    type.decays = true;
    return type;
}

} // namespace braid

#include "layers/mixers/gated_delta_net.h"

namespace braid {
namespace {

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
            .key("negative_eigenvalues", &G::negative_eigenvalues,
                 {.help = "beta between 0 and 2 instead of 0 and 1",
                  .aliases = {"allow_neg_eigval", "linear_allow_neg_eigval"}})
            .key("output_norm_eps", &G::output_norm_eps,
                 {.help = "eps of the norm of each head's output",
                  .above = 0,
                  .max = 1,
                  .default_text = "that of the sublayer's norms"})
            .rule("num_key_heads divides num_value_heads", check_gated_delta_net);
    return schema;
}

void shrink(GatedDeltaNetConfig& g) {
    shrink_heads(g.num_key_heads, g.num_value_heads);
    g.key_head_dim = 8;
    g.value_head_dim = 8;
}

} // namespace

SublayerType gated_delta_net_type() {
    const GatedDeltaNetConfig plain{
        .num_key_heads = 2, .num_value_heads = 4, .key_head_dim = 3, .value_head_dim = 5, .conv_kernel = 3};
    GatedDeltaNetConfig negative = plain; // the form of OLMo Hybrid
    negative.negative_eigenvalues = true;
    negative.output_norm_eps = 1e-2;
    SublayerType type = describe_sublayer<GatedDeltaNetConfig, GatedDeltaNetLayer>(
        "gated_delta_net", gated_delta_net_schema(), shrink,
        {{"gated_delta_net", plain}, {"gated_delta_net_negative", negative}});
    type.synonyms = "deltanet gdn linearattention linear";
    type.decays = true;
    return type;
}

} // namespace braid

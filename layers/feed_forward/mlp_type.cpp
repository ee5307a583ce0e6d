#include <algorithm>

#include "layers/feed_forward/mlp.h"

namespace braid {
namespace {

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
                  .synonyms = kActivationSynonyms})
            .not_built({"clamp", "bias"});
    return schema;
}

void shrink(MlpConfig& m) {
    m.size = std::min<int64_t>(m.size, 24);
}

std::vector<SublayerType::Example> examples() {
    std::vector<SublayerType::Example> result;
    for (const Activation activation :
         {Activation::swiglu, Activation::geglu, Activation::gelu, Activation::silu, Activation::relu2})
        result.emplace_back(fmt::format("mlp_{}", to_string(activation)),
                            MlpConfig{.size = 7, .activation = activation});
    return result;
}

} // namespace

SublayerType mlp_type() {
    SublayerType type = describe_sublayer<MlpConfig, MlpLayer>("mlp", mlp_schema(), shrink, examples());
    type.synonyms = "ffn feedforward dense swiglu";
    return type;
}

} // namespace braid

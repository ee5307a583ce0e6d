#include <algorithm>

#include "layers/feed_forward/mlp.h"
#include "layers/sublayer/biases.h"

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
            .key("bias", &MlpConfig::bias,
                 {.help = "projections with a bias; up has the gate's too",
                  .default_text = "[]",
                  .aliases = {"mlp_bias", "use_bias", "add_bias_linear", "use_mlp_bias"},
                  .example = "[up, down]"})
            .not_built({"clamp"})
            .finish([](MlpConfig& m, SectionCheck&) { sort_biases(m.bias); })
            .rule(std::string(kBiasRule),
                  [](const MlpConfig& m, SectionCheck& check) { check_biases(m.bias, check); });
    return schema;
}

void shrink(MlpConfig& m) {
    m.size = std::min<int64_t>(m.size, 24);
}

std::vector<SublayerType::Example> mlp_examples() {
    std::vector<SublayerType::Example> result;
    for (const Activation activation :
         {Activation::swiglu, Activation::geglu, Activation::gelu, Activation::silu, Activation::relu2})
        result.emplace_back(fmt::format("mlp_{}", to_string(activation)),
                            MlpConfig{.size = 7, .activation = activation});
    using enum MlpProjection;
    result.emplace_back("mlp_bias",
                        MlpConfig{.size = 12, .activation = Activation::swiglu, .bias = {up, down}});
    result.emplace_back("mlp_some_bias",
                        MlpConfig{.size = 6, .activation = Activation::relu2, .bias = {down}});
    return result;
}

} // namespace

SublayerType mlp_type() {
    SublayerType type = describe_sublayer<MlpConfig, MlpLayer>("mlp", mlp_schema(), shrink, mlp_examples());
    type.synonyms = "ffn feedforward dense swiglu";
    return type;
}

} // namespace braid

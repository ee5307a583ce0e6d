#include "layers/specification/model_schema.h"

#include <algorithm>
#include <set>

#include "base/error.h"
#include "base/suggest.h"
#include "layers/specification/sublayer_type.h"

namespace braid {

namespace {

const Schema<NormConfig>& norm_schema() {
    static const Schema<NormConfig> schema =
        Schema<NormConfig>()
            .key("type", &NormConfig::type,
                 {.help = "RMSNorm or LayerNorm",
                  .aliases = {"normalization", "norm_type"},
                  .synonyms = "t5=rms ln=layer"})
            .key("placement", &NormConfig::placement,
                 {.help = "pre x+F(N(x)); post x+N(F(x)); sandwich x+N2(F(N1(x))); residual_post N(x+F(x)); "
                          "none x+F(x)",
                  .aliases = {"block_type", "norm_position", "model.norm.position"},
                  .synonyms = "prenorm=pre preln=pre postnorm=post reordered=post reorderednorm=post "
                              "peri=sandwich periln=sandwich postln=residual_post original=residual_post "
                              "double=sandwich"})
            .key("zero_centered", &NormConfig::zero_centered,
                 {.help = "weights are stored as w and applied as 1 + w", .aliases = {"apply_layernorm_1p"}})
            .key("eps", &NormConfig::eps,
                 {.help = "added to the mean square",
                  .above = 0,
                  .max = 1,
                  .aliases = {"layernorm_epsilon", "rms_norm_eps", "norm_eps", "layer_norm_eps"}})
            .key("embedding", &NormConfig::embedding, {.help = "a norm after the embedding"})
            .key("final", &NormConfig::final, {.help = "a norm before the head"})
            .example("{type: rms, placement: pre}");
    return schema;
}

const Schema<InitConfig>& init_schema() {
    static const Schema<InitConfig> schema =
        Schema<InitConfig>()
            .key("std", &InitConfig::std,
                 {.help = "standard deviation of the weights",
                  .above = 0,
                  .max = 100,
                  .aliases = {"init_method_std", "initializer_range", "init_std"}})
            .key("distribution", &InitConfig::distribution,
                 {.help = "truncated_normal is cut at three deviations and keeps std",
                  .synonyms = "gaussian=normal truncnormal=truncated_normal"})
            .key(
                "output", &InitConfig::output,
                {.help =
                     "projections that end a sublayer: like the rest, divided by sqrt(2 num_layers), or zero",
                 .aliases = {"output_layer_init_method", "depth_init"},
                 .synonyms = "scaled=depth_scaled depth=depth_scaled zeros=zero none=same"})
            .example("{std: 0.02, output: depth_scaled}");
    return schema;
}

const Schema<ResidualConfig>& residual_schema() {
    static const Schema<ResidualConfig> schema =
        Schema<ResidualConfig>()
            .key("stream_scale", &ResidualConfig::stream_scale,
                 {.help = "factor on x in x + F(x)", .above = 0, .max = 1000})
            .key(
                "branch_scale", &ResidualConfig::branch_scale,
                {.help = "factor on the branch", .above = 0, .max = 1000, .aliases = {"residual_multiplier"}})
            .example("{branch_scale: 0.5}");
    return schema;
}

const Schema<HeadConfig>& head_schema() {
    static const Schema<HeadConfig> schema =
        Schema<HeadConfig>()
            .key("z_loss", &HeadConfig::z_loss,
                 {.help = "weight of the mean squared logsumexp of the logits",
                  .min = 0,
                  .aliases = {"z_loss_multiplier", "softmax_auxiliary_loss"}})
            .key("softcap", &HeadConfig::softcap,
                 {.help = "softcap * tanh(logits / softcap); 0 is off",
                  .min = 0,
                  .aliases = {"final_logit_softcapping"}})
            .key("scale", &HeadConfig::scale,
                 {.help = "factor on the logits", .above = 0, .aliases = {"logits_scaling", "logit_scale"}})
            .example("{z_loss: 1.0e-4}");
    return schema;
}

const Schema<LayerEdit>& edit_schema() {
    static const Schema<LayerEdit> schema =
        Schema<LayerEdit>()
            .key("at", &LayerEdit::at,
                 {.help = "layers from 0, as \"0-2\" or \"43,44\"", .required = true, .joins_list = true})
            .key("replace", &LayerEdit::replace,
                 {.help = "{moe: dense} puts dense where moe was", .example = "{moe: dense}"})
            .key("set", &LayerEdit::set,
                 {.help = "{moe.router.scale: 2} changes one key", .example = "{moe.router.scale: 2}"})
            .example("{at: \"0-2\", replace: {moe: dense}}")
            .rule("an edit has replace or set", [](const LayerEdit& edit, SectionCheck& check) {
                if (edit.replace.empty() && edit.set.empty())
                    check.fail("at", "has no effect: expected replace or set beside it");
            });
    return schema;
}

/// LayerNorm has no zero-centred form, so a weight that starts at 0 would silence the model.
void check_norms(const ModelConfig& model, const std::vector<LayerConfig>& layers, SectionCheck& check) {
    const std::string message =
        "expected false with LayerNorm, found true; set it to false, or norm.type to rms";
    if (model.norm.type == NormType::layer && model.norm.zero_centered)
        return check.fail("norm.zero_centered", message);
    std::set<std::string> reported;
    for (const LayerConfig& layer : layers) {
        for (const ResolvedSublayer& sublayer : layer.sublayers) {
            if (sublayer.norm.type == NormType::layer && sublayer.norm.zero_centered &&
                reported.insert(sublayer.name).second)
                check.fail("sublayers." + sublayer.name + ".norm.zero_centered", message);
        }
    }
}

/// The pattern expands, and the model's size stays where 64-bit counts and byte offsets cannot overflow.
void check_model(const ModelConfig& model, SectionCheck& check) {
    constexpr double kMaxElements = 0x1p50;
    std::vector<LayerConfig> layers;
    try {
        layers = expand_layers(model);
    } catch (const ConfigError& error) {
        // The message starts with the key: "model.pattern: column 3: ...".
        const std::string text = error.what();
        const size_t colon = text.find(": ");
        const size_t begin = std::string_view("model.").size();
        return check.fail(text.substr(begin, colon - begin), text.substr(colon + 2));
    }
    check_norms(model, layers, check);
    double elements = 2 * static_cast<double>(model.hidden_size) * static_cast<double>(model.vocab_size);
    std::vector<std::pair<const ResolvedSublayer*, double>> known; // each once
    for (const LayerConfig& layer : layers) {
        for (const ResolvedSublayer& sublayer : layer.sublayers) {
            auto same = std::find_if(known.begin(), known.end(),
                                     [&](const auto& other) { return *other.first == sublayer; });
            if (same == known.end())
                same = known.insert(known.end(), {&sublayer, declare_alone(sublayer, model).num_elements});
            elements += same->second;
        }
    }
    if (elements > kMaxElements)
        check.fail("hidden_size",
                   fmt::format("expected a model of at most {:.2g} parameters, found about {:.2g}",
                               kMaxElements, elements));
}

/// Puts copies in the place of `like`, depth first, within bounds on the chain's length and on what is
/// copied.
class CopyResolver {
  public:
    explicit CopyResolver(YamlNode& sublayers) : sublayers_(sublayers) {}

    void resolve(const std::string& name) {
        YamlNode* const node = sublayers_.find(name);
        if (!node->is_map() || done_.contains(name)) return;
        if (const YamlNode* const like = node->find("like")) {
            const std::string other = target_of(name, *like);
            path_.push_back(name);
            resolve(other);
            path_.pop_back();
            replace(*node, *sublayers_.find(other));
        }
        done_.insert(name);
    }

  private:
    static constexpr size_t kMaxChain = 32;
    static constexpr int64_t kMaxCopiedKeys = 100'000;

    /// The name that `like` holds, once it is known that following it comes to an end.
    std::string target_of(const std::string& name, const YamlNode& like) const {
        const std::string other = like.is_scalar() ? like.scalar : "";
        const std::string place = fmt::format("{}: model.sublayers.{}.like", like.location.text(), name);
        if (!sublayers_.find(other)) {
            std::vector<std::string> names;
            for (const YamlEntry& entry : sublayers_.entries) names.push_back(entry.key);
            throw ConfigError("{}: expected a name in model.sublayers, found {}{}", place, like.shown(),
                              did_you_mean(other, names));
        }
        std::string chain;
        for (const std::string& step : path_) chain += step + " -> ";
        chain += name + " -> " + other;
        if (other == name || std::find(path_.begin(), path_.end(), other) != path_.end())
            throw ConfigError("{}: a sublayer cannot copy itself: {}", place, chain);
        if (path_.size() >= kMaxChain)
            throw ConfigError("{}: more than {} copies of copies", place, kMaxChain);
        return other;
    }

    void replace(YamlNode& node, YamlNode copy) {
        num_copied_ += static_cast<int64_t>(copy.entries.size());
        if (num_copied_ > kMaxCopiedKeys)
            throw ConfigError("{}: like: the copies hold more than {} keys", node.location.text(),
                              kMaxCopiedKeys);
        YamlNode own = std::move(node);
        own.remove("like");
        std::vector<YamlMergeFault> faults; // the file has no null left
        merge_yaml(copy, own, faults);
        copy.location = own.location;
        node = std::move(copy);
    }

    YamlNode& sublayers_;
    std::vector<std::string> path_;
    std::set<std::string> done_;
    int64_t num_copied_ = 0;
};

} // namespace

void resolve_copies(YamlNode& sublayers) {
    CopyResolver resolver(sublayers);
    std::vector<std::string> names;
    for (const YamlEntry& entry : sublayers.entries) names.push_back(entry.key);
    for (const std::string& name : names) resolver.resolve(name);
}

const Schema<ModelConfig>& model_schema() {
    using M = ModelConfig;
    static const Schema<M> schema =
        Schema<M>()
            .key("vocab_size", &M::vocab_size,
                 {.help = "token ids are 0 to vocab_size - 1",
                  .min = 1,
                  .max = 16'777'216,
                  .required = true,
                  .aliases = {"padded_vocab_size", "n_vocab"}})
            .key("hidden_size", &M::hidden_size,
                 {.help = "size of the residual stream",
                  .min = 1,
                  .max = 1'048'576,
                  .required = true,
                  .aliases = {"dim", "d_model", "n_embd", "model_dim"}})
            .key("num_layers", &M::num_layers,
                 {.help = "layers of head, tiled pattern and tail together; auto is what the patterns give",
                  .min = 1,
                  .max = static_cast<double>(kMaxLayers),
                  .zero_word = "auto",
                  .aliases = {"num_hidden_layers", "n_layers", "n_layer"}})
            .key("pattern", &M::pattern,
                 {.help = "layers, as in \"(gdn+moe)*3, attn+moe\"; repeated up to num_layers",
                  .required = true,
                  .joins_list = true,
                  .aliases = {"layer_types", "block_pattern", "hybrid_override_pattern",
                              "full_attention_interval", "linear_attention_freq", "moe_layer_freq",
                              "hybrid_layer_pattern"}})
            .key("pattern_head", &M::pattern_head,
                 {.help = "layers before the pattern, not repeated",
                  .joins_list = true,
                  .aliases = {"first_k_dense_replace"}})
            .key("pattern_tail", &M::pattern_tail,
                 {.help = "layers after the pattern, not repeated", .joins_list = true})
            .key("partial_tile", &M::partial_tile,
                 {.help = "what happens when the last repetition does not fit"})
            .key("tie_embeddings", &M::tie_embeddings,
                 {.help = "the head uses the embedding's weights",
                  .aliases = {"tie_word_embeddings", "untie_embeddings_and_output_weights",
                              "enable_weight_tying", "weight_tying"}})
            .section("norm", &M::norm, norm_schema(), "norms of the residual stream")
            .section("init", &M::init, init_schema(), "initial weights")
            .section("residual", &M::residual, residual_schema(), "how a branch joins the stream")
            .section("head", &M::head, head_schema(), "logits and loss")
            .map("sublayers", &M::sublayers, sublayer_schema(),
                 {.help = "what patterns name; one that no pattern names is reported",
                  .required = true,
                  .example = "{attn: {type: attention, num_heads: 4, head_dim: 64}}"})
            .list("layers", &M::layers, edit_schema(),
                  {.help = "changes of single layers, in order",
                   .example = "[{at: \"0-2\", replace: {moe: dense}}]"})
            .not_built({"mtp"})
            .example("{vocab_size: 256, hidden_size: 128, pattern: attn+mlp, sublayers: {...}}")
            .pointless("partial_tile", "num_layers is not given, so nothing is cut",
                       [](const M& m) { return m.num_layers == 0; })
            .rule(
                "the patterns expand to num_layers with known names, the layer edits fit, and no LayerNorm "
                "is zero-centred",
                check_model);
    return schema;
}

} // namespace braid

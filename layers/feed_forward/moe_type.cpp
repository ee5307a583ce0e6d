#include <algorithm>

#include "layers/feed_forward/moe.h"

namespace braid {
namespace {

constexpr double kMaxExperts = 65'536;

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
                 {.help = "of all experts; swiglu and geglu are gated", .synonyms = kActivationSynonyms})
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

void shrink(MoeConfig& m) {
    m.num_experts = std::min<int64_t>(m.num_experts, 16);
    m.experts_per_token = std::min({m.experts_per_token, m.num_experts, int64_t{4}});
    m.expert_size = std::min<int64_t>(m.expert_size, 8);
    m.shared_size = std::min<int64_t>(m.shared_size, 8);
    m.piece_tokens = std::min<int64_t>(m.piece_tokens, 13); // so that there are several
}

std::vector<SublayerType::Example> examples() {
    const MoeConfig plain{.num_experts = 5, .experts_per_token = 2, .expert_size = 3};
    MoeConfig shared = plain;
    shared.shared_size = 4;
    shared.shared_gate = true;
    shared.activation = Activation::gelu;
    shared.router.score = RouterScore::sigmoid;
    shared.router.scale = 2.5;
    MoeConfig not_normalized = shared;
    not_normalized.router.normalize = false;
    not_normalized.shared_gate = false;
    return {{"moe", plain}, {"moe_sigmoid_shared", shared}, {"moe_not_normalized", not_normalized}};
}

} // namespace

SublayerType moe_type() {
    SublayerType type = describe_sublayer<MoeConfig, MoeLayer>("moe", moe_schema(), shrink, examples());
    type.synonyms = "experts mixtureofexperts";
    return type;
}

} // namespace braid

#include <algorithm>
#include <bit>

#include "layers/feed_forward/moe.h"
#include "layers/sublayer/biases.h"

namespace braid {
namespace {

constexpr double kMaxExperts = 65'536;
constexpr const char* kNoGroups = "num_groups is 1, so the choice is among all experts";

void check_groups_of_token(const RouterConfig& r, SectionCheck& check) {
    if (r.num_groups > 1 && r.group_topk > r.num_groups)
        check.fail("group_topk", fmt::format("expected at most num_groups ({}), found {}; nearest: {}",
                                             r.num_groups, r.group_topk, r.num_groups));
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
            .key("bias", &R::bias,
                 {.help = "a learned bias on the logits, beside the one of bias_update_rate, which is not "
                          "learned by gradients",
                  .aliases = {"router_bias", "gate_bias"}})
            .key("bias_update_rate", &R::bias_update_rate,
                 {.help = "step of the selection bias that balances without a loss; 0 means no bias",
                  .min = 0,
                  .max = 1,
                  .aliases = {"moe_router_bias_update_rate", "moe_router_enable_expert_bias",
                              "bias_update_speed", "bias_gamma"}})
            .key(
                "num_groups", &R::num_groups,
                {.help = "groups of neighbouring experts, of which a token's best have all of its experts; a "
                         "divisor of num_experts; 1 means a choice among all experts",
                 .min = 1,
                 .max = kMaxExperts,
                 .aliases = {"n_group", "moe_router_num_groups"}})
            .key("group_topk", &R::group_topk,
                 {.help = "best groups in which a token's experts are chosen",
                  .min = 1,
                  .max = kMaxExperts,
                  .aliases = {"topk_group", "moe_router_group_topk"}})
            .key("group_score", &R::group_score,
                 {.help = "score of a group: the sum of its two best experts' scores, selection bias "
                          "included, or the best one's"})
            .pointless("aux_scope", "aux_loss is 0, so there is no balancing loss",
                       [](const R& r) { return r.aux_loss == 0; })
            .pointless("group_topk", kNoGroups, [](const R& r) { return r.num_groups == 1; })
            .pointless("group_score", kNoGroups, [](const R& r) { return r.num_groups == 1; })
            .rule("group_topk is at most num_groups", check_groups_of_token)
            .example("{score: softmax, aux_loss: 1.0e-3}");
    return schema;
}

/// The numbers of groups next to the given one that split these experts evenly, into groups large enough for
/// their score.
std::string nearest_num_groups(const MoeConfig& m) {
    const int64_t found = m.router.num_groups;
    const int64_t smallest = m.router.group_score == RouterGroupScore::top2_sum ? 2 : 1;
    int64_t below = 1, above = 0;
    for (int64_t groups = 2; groups * smallest <= m.num_experts; ++groups) {
        if (m.num_experts % groups != 0) continue;
        if (groups < found) below = groups;
        if (groups > found && above == 0) above = groups;
    }
    return above > 0 ? fmt::format("{} or {}", below, above) : std::to_string(below);
}

void check_groups(const MoeConfig& m, SectionCheck& check) {
    const RouterConfig& r = m.router;
    if (m.num_experts % r.num_groups != 0)
        check.fail("router.num_groups",
                   fmt::format("expected a divisor of num_experts ({}), found {}; nearest: {}", m.num_experts,
                               r.num_groups, nearest_num_groups(m)));
    else if (r.num_groups > 1 && r.num_groups == m.num_experts && r.group_score == RouterGroupScore::top2_sum)
        check.fail("router.group_score",
                   fmt::format("expected max, as there is one expert in each of {} groups of {}, found "
                               "top2_sum; nearest: max, or num_groups {}",
                               r.num_groups, m.num_experts, nearest_num_groups(m)));
}

void check_choice(const MoeConfig& m, SectionCheck& check) {
    const int64_t found = m.experts_per_token, groups = m.router.num_groups;
    if (found > m.num_experts)
        return check.fail("experts_per_token",
                          fmt::format("expected at most num_experts ({}), found {}; nearest: {}",
                                      m.num_experts, found, m.num_experts));
    if (groups == 1 || m.num_experts % groups != 0) return;
    const int64_t size = m.num_experts / groups, most = m.router.group_topk * size;
    if (found > most)
        check.fail("experts_per_token",
                   fmt::format("expected at most the experts of router.group_topk ({}) groups of num_experts "
                               "/ router.num_groups ({}), found {}; nearest: {}, or router.group_topk {}",
                               m.router.group_topk, size, found, most, (found + size - 1) / size));
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
            .key("bias", &M::bias,
                 {.help = "what has biases on its projections: all experts, the shared expert",
                  .default_text = "[]",
                  .aliases = {"mlp_bias", "use_bias", "add_bias_linear", "use_mlp_bias"},
                  .example = "[experts, shared]"})
            .not_built({"clamp", "capacity_factor"})
            .pointless("shared_gate", "shared_size is 0, so there is no shared expert",
                       [](const M& m) { return m.shared_size == 0; })
            .finish([](M& m, SectionCheck&) { sort_biases(m.bias); })
            .rule(std::string(kBiasRule),
                  [](const M& m, SectionCheck& check) {
                      check_biases<MoeProjection>(m.bias, check, [&](MoeProjection p) {
                          return p == MoeProjection::shared && m.shared_size == 0
                                     ? std::string("shared_size is 0")
                                     : std::string();
                      });
                  })
            .rule("router.num_groups divides num_experts, into groups of two or more for top2_sum",
                  check_groups)
            .rule("experts_per_token is at most num_experts, and what router.group_topk groups have",
                  check_choice);
    return schema;
}

/// Groups that 16 experts fall into, as many of them for a token, in proportion, as there were.
void shrink_groups(RouterConfig& r) {
    if (r.num_groups == 1) return;
    const int64_t before = r.num_groups;
    r.num_groups = static_cast<int64_t>(std::bit_floor(static_cast<uint64_t>(std::min<int64_t>(before, 4))));
    r.group_topk = std::max<int64_t>(r.group_topk * r.num_groups / before, 1);
}

void shrink(MoeConfig& m) {
    if (m.num_experts > 16) {
        m.num_experts = 16;
        shrink_groups(m.router);
    }
    const int64_t choosable = m.router.group_topk * (m.num_experts / m.router.num_groups);
    m.experts_per_token = std::min({m.experts_per_token, choosable, int64_t{4}});
    m.expert_size = std::min<int64_t>(m.expert_size, 8);
    m.shared_size = std::min<int64_t>(m.shared_size, 8);
    m.piece_tokens = std::min<int64_t>(m.piece_tokens, 13); // so that there are several
}

std::vector<SublayerType::Example> moe_examples() {
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
    MoeConfig groups = plain;
    groups.num_experts = 6;
    groups.router.num_groups = 3;
    groups.router.group_topk = 2;
    MoeConfig groups_by_max{.num_experts = 8, .experts_per_token = 3, .expert_size = 2};
    groups_by_max.router = {.score = RouterScore::sigmoid,
                            .num_groups = 4,
                            .group_topk = 2,
                            .group_score = RouterGroupScore::max};
    MoeConfig biased{.num_experts = 4, .experts_per_token = 2, .expert_size = 4, .shared_size = 3};
    biased.bias = {MoeProjection::experts, MoeProjection::shared};
    biased.router.bias = true;
    biased.router.normalize = false;
    MoeConfig experts_biased = plain; // in pieces, without gates
    experts_biased.num_experts = 6;
    experts_biased.activation = Activation::gelu;
    experts_biased.piece_tokens = 5;
    experts_biased.bias = {MoeProjection::experts};
    return {{"moe", plain},
            {"moe_sigmoid_shared", shared},
            {"moe_not_normalized", not_normalized},
            {"moe_groups", groups},
            {"moe_groups_by_max", groups_by_max},
            {"moe_bias", biased},
            {"moe_some_bias", experts_biased}};
}

} // namespace

SublayerType moe_type() {
    SublayerType type = describe_sublayer<MoeConfig, MoeLayer>("moe", moe_schema(), shrink, moe_examples());
    type.synonyms = "experts mixtureofexperts";
    return type;
}

} // namespace braid

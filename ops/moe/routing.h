#pragma once

#include "ops/documents.h"
#include "ops/moe/routing_options.h"
#include "tensor/tape.h"

namespace braid::ops {

/// Which experts each token goes to. The choice is made once and saved: backward and recomputed segments
/// never choose again.
struct Routing {
    Tensor expert;         // i32 [T, k], best first; equal scores go to the lower expert
    Tensor weight;         // [T, k], differentiable
    Tensor probabilities;  // [T, E] the scores p, differentiable, for the balancing losses
    int64_t num_flips = 0; // tokens whose own choice is another set than the given one
};

/// Chooses the k experts with the largest p + bias (DeepSeek-V3, section 2.1.2) and weighs them by p alone:
/// weight = scale p / (sum of the chosen p + 1e-20) if normalised, else scale p. With several groups only
/// the experts of a token's group_topk best groups can be chosen, whatever their scores ("node-limited
/// routing", the same section; DeepSeek-V2, arXiv:2405.04434, section 2.1.2); groups are scored by p + bias,
/// and equal scores go to the lower group. logits [T, E], f32 or f64 as all of routing; bias f32 or f64 [E]
/// takes part in the choice only and may be undefined. With `given` i32 [T, k] the tokens go to those experts
/// instead, of any group, weighed by their own p. InternalError for a given expert that does not exist, and
/// for options that do not fit: num_groups divides E, the group_topk groups have k experts or more, and
/// top2_sum needs groups of two.
Routing route(Context& ctx, const Tensor& logits, const Tensor& bias, const RoutingOptions& options,
              const Tensor& given = {});

/// How many of the choices in `expert` [t, k] name each expert in each sequence, i64 [sequences, E]. The
/// tokens are those from first_token on of a micro-batch.
Tensor count_experts_by_sequence(Context& ctx, const Tensor& expert, int64_t num_experts,
                                 const Documents& documents, int64_t first_token = 0);

/// The balancing loss with each sequence on its own (Switch Transformer; DeepSeek-V3, section 2.1.2), summed
/// over sequences, f64 [1]: sum_s E sum_e f_se P_se, where f_se = assignments of expert e in sequence s / (k
/// T_s) and P_se = mean over its tokens of p_te / sum_e p_te. 1 per sequence when balanced. Differentiable in
/// P only. counts i64 [sequences, E] are those of whole sequences; probabilities may be those of a share of
/// the micro-batch's tokens, from first_token on, and give their share of the sum.
Tensor balance_loss_sequence(Context& ctx, const Tensor& probabilities, const Tensor& counts, int64_t k,
                             const Documents& documents, int64_t first_token = 0);

/// The same with given constant fractions f, f64 [E], such as those of the global batch: sum_t E sum_e f_e
/// p_te / sum_e p_te, f64 [1]; 1 per token when balanced.
Tensor balance_loss_given_fractions(Context& ctx, const Tensor& probabilities, const Tensor& fractions);

/// sum_t log(sum_e e^logit)², f64 [1] (Zoph et al. 2022, ST-MoE, equation 5, without the mean).
Tensor router_z_loss(Context& ctx, const Tensor& logits);

/// How many of the choices in `expert` [T, k] name each of the experts, i64 [num_experts].
Tensor count_experts(Context& ctx, const Tensor& expert, int64_t num_experts);

/// bias_e += rate sign(mean count - count_e) (Wang et al. 2024, "Auxiliary-loss-free load balancing"). bias
/// f32 or f64 [E], counts i64 [E]. Compared in integers, so that any layout of ranks makes the same step.
void update_router_bias(const Tensor& bias, const Tensor& counts, double rate);

} // namespace braid::ops

#pragma once

#include "tensor/tape.h"

namespace braid::ops {

/// Where the rows of experts come from. A slot is one choice of one token: slot t k + j is choice j of token
/// t. Rows are slots sorted by (expert, token, choice).
struct ExpertPlan {
    Tensor order;       // i32 [T k]: the slot of each row
    Tensor row_of_slot; // i32 [T k]: its inverse
    Tensor offsets;     // i64 [E + 1]: expert e has rows offsets[e] to offsets[e + 1]
    int64_t k = 1;      // choices per token

    int64_t num_rows() const { return order.numel(); }
};

/// The plan for expert i32 [T, k] with values in [0, num_experts).
ExpertPlan make_expert_plan(Context& ctx, const Tensor& expert, int64_t num_experts);

/// Copies each token's row to all experts that it goes to: h [T, D] to [T k, D], grouped by expert. The
/// gradient of a token is the sum over its slots, in order.
Tensor permute(Context& ctx, const Tensor& h, const ExpertPlan& plan);

/// y[t] = sum_j weight[t, j] rows[row of slot t k + j], in the order of j: rows [T k, D], weight [T, k], y
/// [T, D].
Tensor combine(Context& ctx, const Tensor& rows, const Tensor& weight, const ExpertPlan& plan);

} // namespace braid::ops

#pragma once

#include "tensor/tape.h"

namespace braid::ops {

/// Where the rows of experts come from. A slot is one choice of one token: slot t k + j is choice j of token
/// t, or no choice. Rows are the R slots that are choices, sorted by (expert, token, choice).
struct ExpertPlan {
    Tensor order;       // i32 [R]: the slot of each row
    Tensor row_of_slot; // i32 [T k]: its inverse, -1 for no choice
    Tensor offsets;     // i64 [E + 1]: expert e has rows offsets[e] to offsets[e + 1]
    int64_t k = 1;      // choices per token

    int64_t num_rows() const { return order.numel(); }
    int64_t num_tokens() const { return row_of_slot.numel() / k; }
};

/// Whether every slot is a choice.
enum class Choices : uint8_t { some, all };

/// The plan for expert i32 [T, k] with values in [0, num_experts), or -1 for no choice. InternalError for
/// other values. To count the choices it waits for a GPU, unless told that all slots are choices; a value
/// that is none is then an error of the CPU only.
ExpertPlan make_expert_plan(Context& ctx, const Tensor& expert, int64_t num_experts,
                            Choices choices = Choices::some);

/// Copies each token's row to all experts that it goes to: h [T, D] to [R, D], grouped by expert. The
/// gradient of a token is the sum over its slots, in order (in f32 and rounded once, for bf16).
Tensor permute(Context& ctx, const Tensor& h, const ExpertPlan& plan);

/// y[t] = sum_j weight[t, j] rows[row of slot t k + j] over its choices, in the order of j: rows [R, D],
/// weight [T, k], y [T, D]. An undefined weight stands for ones. With rows in bf16 the weight is f32, sums
/// are f32, and y is rounded to bf16 once.
Tensor combine(Context& ctx, const Tensor& rows, const Tensor& weight, const ExpertPlan& plan);

} // namespace braid::ops

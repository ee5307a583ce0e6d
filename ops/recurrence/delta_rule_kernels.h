#pragma once

#include "ops/on_device.h"
#include "ops/recurrence/chunk_plan.h"
#include "tensor/tensor.h"

namespace braid::ops {

/// The inputs of the gated delta rule as in ops/recurrence/delta_rule.h; g may be undefined, and on the CPU
/// beta too, without which values are written to the state as they are.
struct DeltaInputs {
    Tensor q, k, v, g, beta;
    double scale;

    int64_t num_tokens() const { return v.dim(0); }
    int64_t num_key_heads() const { return k.dim(1); }
    int64_t num_value_heads() const { return v.dim(1); }
    int64_t heads_per_key() const { return num_value_heads() / num_key_heads(); }
    int64_t key_dim() const { return k.dim(2); }
    int64_t value_dim() const { return v.dim(2); }
};

/// What forward leaves for backward. inverse: (I + A)^-1, flat; that of a chunk and head h begins at
/// H_v square_offset + h L² and has L packed rows. corrected: the rows delta_t as [H_v, T, d_v]. Without beta
/// both are undefined.
struct DeltaSaved {
    Tensor inverse, corrected;
};

/// The states at the borders of documents in backward, [num_documents, H_v, d_k, d_v]: those that documents
/// start from, their gradients, and the gradients of those at their ends; undefined where the plan has none.
/// What d_initial holds of a document without a token is left.
struct DeltaBorders {
    Tensor initial, d_initial, d_last;
};

/// The gradients, packed, in the shapes of the inputs; g and beta are undefined where the inputs are.
struct DeltaGradients {
    Tensor q, k, v, g, beta;
};

} // namespace braid::ops

namespace braid::ops::cpu {

/// On a GPU `plan` has been uploaded. `states` [plan.num_states, H_v, d_k, d_v] holds those at the starts of
/// documents, if the plan has any, and gets the others; what it holds of a document without a token is left.
/// Fills o [T, H_v, d_v] and `saved`. Transient memory comes from `allocator`.
void delta_rule_forward(const DeltaInputs& in, const ChunkPlan& plan, const Tensor& o,
                        const DeltaSaved& saved, const Tensor& states, Allocator& allocator);

/// Fills `gradients` and borders.d_initial from dO = `d_output` [T, H_v, d_v] and borders.d_last.
void delta_rule_backward(const DeltaInputs& in, const ChunkPlan& plan, const DeltaSaved& saved,
                         const Tensor& d_output, const DeltaBorders& borders, const DeltaGradients& gradients,
                         Allocator& allocator);

/// Floating-point operations in the matrix products that delta_rule_forward and delta_rule_backward execute.
double delta_rule_forward_flops(const DeltaInputs& in, const ChunkPlan& plan);
double delta_rule_backward_flops(const DeltaInputs& in, const ChunkPlan& plan);

} // namespace braid::ops::cpu

namespace braid::ops {

BRAID_KERNEL(delta_rule_forward)
BRAID_KERNEL(delta_rule_backward)

} // namespace braid::ops

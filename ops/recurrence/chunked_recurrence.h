#pragma once

#include "ops/documents.h"
#include "ops/recurrence/delta_rule_kernels.h"
#include "tensor/tape.h"

namespace braid::ops {

/// Whether the device of these inputs has a kernel for this setting of the recurrence in
/// ops/recurrence/linear_recurrence.h: in.g undefined, [T, H_v] or [T, H_v, d_k]; in.beta undefined or [T,
/// H_v]. The CPU has all, of decays per channel those with as many key as value heads; a GPU has the delta
/// rule with a decay per head or none.
bool has_recurrence_kernel(const DeltaInputs& in);

/// The recurrence by that kernel, as gated_delta_rule (ops/recurrence/delta_rule.h) describes it. g and beta
/// are of the states' dtype. Saved for backward beside the inputs, per chunk of L tokens and head: with beta
/// the inverse [L, L] and the values written to the state [L, d_v], with a decay per channel the products of
/// queries and keys [L, L].
Tensor chunked_recurrence(Context& ctx, const DeltaInputs& in, const DocumentsPtr& documents,
                          const Tensor& initial, Tensor* last);

} // namespace braid::ops

#pragma once

#include "ops/documents.h"
#include "ops/recurrence/delta_rule_kernels.h"
#include "tensor/tape.h"

namespace braid::ops {

/// Whether several value heads may read one key head in this setting of the recurrence: not with a decay per
/// channel, nor on a GPU without the delta rule.
bool keys_may_be_shared(const DeltaInputs& in);

/// The recurrence by that kernel, as gated_delta_rule (ops/recurrence/delta_rule.h) describes it. g and beta
/// are of the states' dtype. Saved for backward beside the inputs, per chunk of L tokens and head: with beta
/// the inverse [L, L] and the values written to the state [L, d_v], with a decay per channel the products of
/// queries and keys [L, L].
Tensor chunked_recurrence(Context& ctx, const DeltaInputs& in, const DocumentsPtr& documents,
                          const Tensor& initial, Tensor* last);

} // namespace braid::ops

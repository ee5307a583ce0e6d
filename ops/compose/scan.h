#pragma once

#include <optional>

#include "ops/documents.h"
#include "tensor/tape.h"

namespace braid::ops {

/// y_t = x_t + y_(t-1) within documents, starting anew in each: x [T, ...]. Sums of bf16 are carried in f32.
Tensor cumulative_sum(Context& ctx, const Tensor& x, const DocumentsPtr& documents);

/// What scan_states gives.
struct ScannedStates {
    Tensor before; // as `update`, the state that each step starts from
    Tensor last;   // as `initial`, the state after each run's last step
};

/// The scan of a linear recurrence with diagonal transitions, over steps (chunks of tokens, or tokens) that
/// lie one after the other in runs, which are independent: S_n = decay_n ⊙ S_(n-1) + update_n, where
/// decay [N, r] scales rows of S [r, c] and update is [N, r, c]. `runs` says where runs begin, as documents
/// do, in steps. A run starts from initial [runs, r, c], or zero where that is undefined. All differentiable.
ScannedStates scan_states(Context& ctx, const Tensor& decay, const Tensor& update, const DocumentsPtr& runs,
                          const Tensor& initial = {});

/// The same with a matrix for a transition: S_n = A_n S_(n-1) + update_n, A [N, H, r, r], update [N, H, r,
/// c], initial [runs, H, r, c]; of each of H heads by itself. Gives before [N, H, r, c] and last [runs, H, r,
/// c].
ScannedStates scan_matrices(Context& ctx, const Tensor& transition, const Tensor& update,
                            const DocumentsPtr& runs, const Tensor& initial = {});

} // namespace braid::ops

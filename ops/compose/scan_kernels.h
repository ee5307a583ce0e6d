#pragma once

#include "ops/on_device.h"

namespace braid::ops::cpu {

/// Within [first[d], first[d + 1]) sums from the first row on, or with `reverse` from the last.
void cumulative_sum(const Tensor& x, const Tensor& first, bool reverse, const Tensor& y);

/// See ops/compose/scan.h; `first` i32 [runs + 1], `initial` may be undefined.
void scan_states(const Tensor& update, const Tensor& decay, const Tensor& initial, const Tensor& first,
                 const Tensor& before, const Tensor& last);
/// From the gradients of `before` and `last`, either undefined for zeros: those of updates and, unless
/// undefined, of initial states.
void scan_states_backward(const Tensor& d_update, const Tensor& decay, const Tensor& first,
                          const Tensor& d_before, const Tensor& d_last, const Tensor& d_initial);

/// The same with transitions [N, H, r, r], transposed in the backward pass, in which `update` is the gradient
/// of `before`, `initial` that of `last`, both undefined for zeros; `steps` [N, H, r, c] and `last` receive
/// what the states of forward are, of backward the gradients of updates and of initial states.
void scan_matrices(const Tensor& transition, const Tensor& update, const Tensor& initial, const Tensor& first,
                   bool backward, const Tensor& steps, const Tensor& last);

} // namespace braid::ops::cpu

namespace braid::ops {

BRAID_KERNEL(cumulative_sum)
BRAID_KERNEL(scan_states)
BRAID_KERNEL(scan_states_backward)
BRAID_KERNEL(scan_matrices)

} // namespace braid::ops

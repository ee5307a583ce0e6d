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

} // namespace braid::ops::cpu

namespace braid::ops {

BRAID_KERNEL(cumulative_sum)
BRAID_KERNEL(scan_states)
BRAID_KERNEL(scan_states_backward)

} // namespace braid::ops

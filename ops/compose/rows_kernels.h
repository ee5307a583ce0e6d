#pragma once

#include "ops/on_device.h"

namespace braid::ops::cpu {

/// y[i] = x[rows[i]], zeros for -1.
void gather_rows(const Tensor& x, const Tensor& rows, const Tensor& y);
/// y[j] = the sum of x[places[p]] over first[j] <= p < first[j + 1], in order.
void sum_rows_at(const Tensor& x, const Tensor& first, const Tensor& places, const Tensor& y);

} // namespace braid::ops::cpu

namespace braid::ops {

BRAID_KERNEL(gather_rows)
BRAID_KERNEL(sum_rows_at)

} // namespace braid::ops

#pragma once

#include "ops/on_device.h"

namespace braid::ops::cpu {

/// y[i] = x[rows[i]], zeros for -1.
void gather_rows(const Tensor& x, const Tensor& rows, const Tensor& y);
/// y[j] = the sum of x[places[p]] over first[j] <= p < first[j + 1], in order.
void sum_rows_at(const Tensor& x, const Tensor& first, const Tensor& places, const Tensor& y);
/// y[i] = x[i / times].
void repeat_rows(const Tensor& x, int64_t times, const Tensor& y);
/// y[i] = the sum of x[j] over i times <= j < (i + 1) times, in order.
void sum_repeated_rows(const Tensor& x, int64_t times, const Tensor& y);
/// y [b, a, d] of x [a, b, d].
void swap_rows(const Tensor& x, const Tensor& y);

} // namespace braid::ops::cpu

namespace braid::ops {

BRAID_KERNEL(gather_rows)
BRAID_KERNEL(sum_rows_at)
BRAID_KERNEL(repeat_rows)
BRAID_KERNEL(sum_repeated_rows)
BRAID_KERNEL(swap_rows)

} // namespace braid::ops

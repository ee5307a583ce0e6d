#pragma once

#include <span>

#include "ops/on_device.h"
#include "tensor/tensor.h"

namespace braid::ops::cpu {

/// table[n, 0, i] = cos((first_position + n) w_i) and table[n, 1, i] the sine, w_i = theta^(-i / m), i < m,
/// for a table [N, 2, m]. A position's row does not depend on where the table starts.
void rope_table(double theta, int64_t first_position, const Tensor& table);
/// y [T, H, d] (packed) = x with each head's first 2m elements turned by the table's row for the token's
/// place in its document; backwards with `inverse`. x may have strided rows; `offsets` are those of
/// Documents.
void rope(const Tensor& x, std::span<const int32_t> offsets, const Tensor& table, bool inverse,
          const Tensor& y);

} // namespace braid::ops::cpu

namespace braid::ops {

BRAID_KERNEL(rope_table)
BRAID_KERNEL(rope)

} // namespace braid::ops

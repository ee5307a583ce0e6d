#pragma once

#include <span>

#include "ops/on_device.h"
#include "tensor/tensor.h"

namespace braid::ops {

/// Which elements of a head turn, and how.
struct RopeTurn {
    int64_t offset;   // the first of them
    bool interleaved; // 2i with 2i + 1 instead of i with i + m
    bool inverse;
};

} // namespace braid::ops

namespace braid::ops::cpu {

/// table[n, 0, i] = amplitude cos((first_position + n) w_i) and table[n, 1, i] the sine, for a table [N, 2,
/// m] and m frequencies w. A position's row does not depend on where the table starts.
void rope_table(std::span<const double> frequencies, double amplitude, int64_t first_position,
                const Tensor& table);
/// y [T, H, d] (packed) = x with 2m elements of each head turned by the table's row for the token's place in
/// its document. x may have strided rows; `offsets` are those of Documents.
void rope(const Tensor& x, std::span<const int32_t> offsets, const Tensor& table, const RopeTurn& turn,
          const Tensor& y);

} // namespace braid::ops::cpu

namespace braid::ops {

BRAID_KERNEL(rope_table)
BRAID_KERNEL(rope)

} // namespace braid::ops

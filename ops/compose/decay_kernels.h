#pragma once

#include "ops/on_device.h"

namespace braid::ops::cpu {

/// See ops/compose/decay.h; undefined q and k are ones, b then [B, n].
void decayed_products(const Tensor& b, const Tensor& q, const Tensor& k, const Tensor& y);
/// Of y's gradient dy: dq_i = sum over j <= i of dy_ij k_j e^(b_i - b_j), dk_j = sum over i >= j of
/// dy_ij q_i e^(b_i - b_j), each in d, of the shape of b; db = q dq - k dk.
void decayed_products_backward(const Tensor& b, const Tensor& q, const Tensor& k, const Tensor& dy,
                               const Tensor& dq, const Tensor& dk, const Tensor& db);

} // namespace braid::ops::cpu

namespace braid::ops {

BRAID_KERNEL(decayed_products)
BRAID_KERNEL(decayed_products_backward)

} // namespace braid::ops

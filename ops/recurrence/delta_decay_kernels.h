#pragma once

#include "ops/on_device.h"
#include "tensor/tensor.h"

namespace braid::ops::cpu {

/// g [T, H] packed from a [T, H], a_log and dt_bias [H].
void delta_decay(const Tensor& a, const Tensor& a_log, const Tensor& dt_bias, const Tensor& g);
/// da = -exp(a_log) sigmoid(a + dt_bias) dg.
void delta_decay_data_gradient(const Tensor& a, const Tensor& a_log, const Tensor& dt_bias, const Tensor& dg,
                               const Tensor& da);
/// Adds sum_t da to d_dt_bias and sum_t dg g to d_a_log.
void delta_decay_weight_gradient(const Tensor& a, const Tensor& a_log, const Tensor& dt_bias, const Tensor& g,
                                 const Tensor& dg, const Tensor& d_a_log, const Tensor& d_dt_bias);

} // namespace braid::ops::cpu

namespace braid::ops {

BRAID_KERNEL(delta_decay)
BRAID_KERNEL(delta_decay_data_gradient)
BRAID_KERNEL(delta_decay_weight_gradient)

} // namespace braid::ops

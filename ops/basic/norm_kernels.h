#pragma once

#include "ops/basic/gate_kind.h"
#include "ops/on_device.h"
#include "tensor/tensor.h"

namespace braid::ops::cpu {

// Shapes as in ops/basic/norm.h, R rows of the last dimension in all. w is undefined where there is none.
// Activations may be bf16, all else is f32 then. `scale` [R] is 1 / sqrt(mean square or variance + eps).

void rms_norm(const Tensor& x, const Tensor& w, double eps, bool zero_centered, const Tensor& y,
              const Tensor& scale);
void rms_norm_data_gradient(const Tensor& dy, const Tensor& x, const Tensor& scale, const Tensor& w,
                            bool zero_centered, const Tensor& dx);
/// dw += sum over rows of dy ⊙ x̂.
void rms_norm_weight_gradient(const Tensor& dy, const Tensor& x, const Tensor& scale, const Tensor& dw);

void layer_norm(const Tensor& x, const Tensor& w, const Tensor& b, double eps, const Tensor& y,
                const Tensor& mean, const Tensor& scale);
void layer_norm_data_gradient(const Tensor& dy, const Tensor& x, const Tensor& mean, const Tensor& scale,
                              const Tensor& w, const Tensor& dx);
/// dw += sum over rows of dy ⊙ x̂, db += sum over rows of dy; either may be undefined.
void layer_norm_weight_gradient(const Tensor& dy, const Tensor& x, const Tensor& mean, const Tensor& scale,
                                const Tensor& dw, const Tensor& db);

void gated_rms_norm(const Tensor& x, const Tensor& gate, const Tensor& w, double eps, GateKind kind,
                    const Tensor& y, const Tensor& scale);
void gated_rms_norm_data_gradient(const Tensor& dy, const Tensor& x, const Tensor& gate, const Tensor& scale,
                                  const Tensor& w, GateKind kind, const Tensor& dx, const Tensor& dgate);
void gated_rms_norm_weight_gradient(const Tensor& dy, const Tensor& x, const Tensor& gate,
                                    const Tensor& scale, GateKind kind, const Tensor& dw);

} // namespace braid::ops::cpu

namespace braid::ops {

BRAID_KERNEL(rms_norm)
BRAID_KERNEL(rms_norm_data_gradient)
BRAID_KERNEL(rms_norm_weight_gradient)
BRAID_KERNEL(layer_norm)
BRAID_KERNEL(layer_norm_data_gradient)
BRAID_KERNEL(layer_norm_weight_gradient)
BRAID_KERNEL(gated_rms_norm)
BRAID_KERNEL(gated_rms_norm_data_gradient)
BRAID_KERNEL(gated_rms_norm_weight_gradient)

} // namespace braid::ops

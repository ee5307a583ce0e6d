#pragma once

#include <cstdint>

#include "ops/on_device.h"
#include "tensor/tensor.h"

namespace braid::ops {

enum class ActivationKind : uint8_t { silu, sigmoid, gelu, relu2 };

} // namespace braid::ops

namespace braid::ops::cpu {

/// y = act(x). Rows of dimension 0 may be strided in all tensors of this file.
void activation(ActivationKind kind, const Tensor& x, const Tensor& y);
/// dx = dy ⊙ act'(x).
void activation_backward(ActivationKind kind, const Tensor& dy, const Tensor& x, const Tensor& dx);

/// y = act(gate) ⊙ up, all of one shape.
void gated(ActivationKind kind, const Tensor& gate, const Tensor& up, const Tensor& y);
/// dgate = dy ⊙ up ⊙ act'(gate), dup = dy ⊙ act(gate).
void gated_backward(ActivationKind kind, const Tensor& dy, const Tensor& gate, const Tensor& up,
                    const Tensor& dgate, const Tensor& dup);

/// y = x sigmoid(gate), where each of the G gate values of a token stands for a G-th of its elements in x.
void sigmoid_gate_groups(const Tensor& x, const Tensor& gate, const Tensor& y);
/// dx = dy sigmoid(gate), dgate = <dy, x> sigmoid'(gate) over the group.
void sigmoid_gate_groups_backward(const Tensor& dy, const Tensor& x, const Tensor& gate, const Tensor& dx,
                                  const Tensor& dgate);

} // namespace braid::ops::cpu

namespace braid::ops {

BRAID_KERNEL(activation)
BRAID_KERNEL(activation_backward)
BRAID_KERNEL(gated)
BRAID_KERNEL(gated_backward)
BRAID_KERNEL(sigmoid_gate_groups)
BRAID_KERNEL(sigmoid_gate_groups_backward)

} // namespace braid::ops

#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "ops/on_device.h"
#include "tensor/tensor.h"

namespace braid::ops {

/// For each token, how many tokens of its document stand before and after it, at most K - 1.
struct ConvReach {
    std::vector<int32_t> before, after;
    Tensor device_before, device_after; // i32 [T] on a GPU, after upload()

    /// Copies them to where kernels read them, if `allocator` is a GPU's.
    void upload(Allocator& allocator) {
        if (allocator.device().kind == DeviceKind::cpu) return;
        device_before = braid::upload(allocator, std::span<const int32_t>(before));
        device_after = braid::upload(allocator, std::span<const int32_t>(after));
    }
};

} // namespace braid::ops

namespace braid::ops::cpu {

/// y [T, C], packed, from x [T, C] and w [C, K]. Row t reads the before[t] rows in front of it.
void causal_conv(const Tensor& x, const Tensor& w, const ConvReach& reach, bool silu, const Tensor& y,
                 Allocator& allocator);
/// dx [T, C] from dy [T, C].
void causal_conv_data_gradient(const Tensor& x, const Tensor& w, const ConvReach& reach, bool silu,
                               const Tensor& dy, const Tensor& dx, Allocator& allocator);
/// Adds to dw [C, K].
void causal_conv_weight_gradient(const Tensor& x, const Tensor& w, const ConvReach& reach, bool silu,
                                 const Tensor& dy, const Tensor& dw, Allocator& allocator);

} // namespace braid::ops::cpu

namespace braid::ops {

BRAID_KERNEL(causal_conv)
BRAID_KERNEL(causal_conv_data_gradient)
BRAID_KERNEL(causal_conv_weight_gradient)

} // namespace braid::ops

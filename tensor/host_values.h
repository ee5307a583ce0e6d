#pragma once

#include <algorithm>
#include <span>
#include <vector>

#include "tensor/tensor.h"

namespace braid {

// Numbers between a tensor on any device and the host. On a GPU each call waits for the work on the tensor's
// memory, so none belongs between the operations of a step.

/// The elements of x in order; rows may be strided.
template <typename T>
std::vector<T> host_values(const Tensor& x) {
    std::vector<T> values(static_cast<size_t>(x.numel()));
    if (values.empty()) return values;
    Allocator host;
    const Tensor y = Tensor::empty(host, x.shape(), x.dtype());
    copy(x, y);
    const auto elements = y.span<T>();
    std::copy(elements.begin(), elements.end(), values.begin());
    return values;
}

/// y's elements, in order, become `values`; y is packed.
template <typename T>
void set_values(const Tensor& y, std::span<const T> values) {
    check(static_cast<int64_t>(values.size()) == y.numel(), "{} values for a tensor of shape {}",
          values.size(), to_string(y.shape()));
    if (values.empty()) return;
    Allocator host;
    const Tensor x = Tensor::empty(host, y.shape(), dtype_of<T>());
    std::copy(values.begin(), values.end(), x.span<T>().begin());
    copy(x, y);
}

/// A tensor [values] of `allocator`.
template <typename T>
Tensor tensor_of(Allocator& allocator, std::span<const T> values) {
    Tensor y = Tensor::empty(allocator, {static_cast<int64_t>(values.size())}, dtype_of<T>());
    set_values(y, values);
    return y;
}
template <typename T>
Tensor tensor_of(Allocator& allocator, const std::vector<T>& values) {
    return tensor_of(allocator, std::span<const T>(values));
}

} // namespace braid

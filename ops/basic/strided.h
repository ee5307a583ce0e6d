#pragma once

#include <algorithm>
#include <cmath>

#include "tensor/tensor.h"

namespace braid::ops {

/// Element i of a tensor whose dimension 0 may be strided, in the order of a packed one, in the type that
/// sums are made in.
template <typename T>
struct Strided {
    const T* data;
    int64_t width, stride;

    explicit Strided(const Tensor& x)
        : data(x.data<T>()),
          width(x.rank() && x.dim(0) ? std::max<int64_t>(x.numel() / x.dim(0), 1) : 1),
          stride(x.row_stride()) {}
    constexpr Accumulation<T> operator[](int64_t i) const {
        return static_cast<Accumulation<T>>(data[i / width * stride + i % width]);
    }
};

} // namespace braid::ops

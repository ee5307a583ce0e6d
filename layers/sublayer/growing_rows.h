#pragma once

#include <algorithm>
#include <vector>

#include "tensor/tensor.h"

namespace braid {

/// Writes rows [n, ...] behind the first `count` of a buffer that grows by doubling; undefined at first.
inline void append_rows(Allocator& allocator, Tensor& buffer, int64_t count, const Tensor& rows) {
    const int64_t needed = count + rows.dim(0), capacity = buffer.defined() ? buffer.dim(0) : 0;
    if (needed > capacity) {
        std::vector<int64_t> dims(rows.shape().dims().begin(), rows.shape().dims().end());
        dims[0] = std::max(needed, 2 * capacity);
        const Tensor larger = Tensor::empty(allocator, Shape(std::span<const int64_t>(dims)), rows.dtype());
        if (count > 0) copy(buffer.rows(0, count), larger.rows(0, count));
        buffer = larger;
    }
    copy(rows, buffer.rows(count, rows.dim(0)));
}

} // namespace braid

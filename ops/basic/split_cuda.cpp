#include "ops/basic/split_kernels.h"

#include <cstddef>

#include "tensor/cuda/runtime.h"

namespace braid::ops::cuda {

void concatenate_columns(std::span<const Tensor> parts, std::span<const int64_t> sizes, const Tensor& y) {
    // Copies of rectangles, which the copy engine does; zeros where a part is missing.
    auto* to = static_cast<std::byte*>(y.raw_data());
    const size_t element = size_of(y.dtype()), pitch = static_cast<size_t>(y.row_stride()) * element;
    const auto rows = static_cast<size_t>(y.dim(0));
    for (size_t i = 0; i < parts.size(); ++i) {
        const size_t width = static_cast<size_t>(sizes[i]) * element;
        if (width > 0 && rows > 0 && parts[i].defined())
            braid::cuda::copy_rows(to, pitch, parts[i].raw_data(),
                                   static_cast<size_t>(parts[i].row_stride()) * element, width, rows,
                                   y.allocator().stream().native());
        else if (width > 0 && rows > 0)
            braid::cuda::fill_zero_rows(to, pitch, width, rows, y.allocator().stream().native());
        to += width;
    }
}

} // namespace braid::ops::cuda

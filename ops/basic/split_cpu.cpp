#include "ops/basic/split_kernels.h"

#include <cstddef>
#include <cstring>

namespace braid::ops::cpu {

void concatenate_columns(std::span<const Tensor> parts, std::span<const int64_t> sizes, const Tensor& y) {
    const size_t element = size_of(y.dtype());
    auto* out = static_cast<std::byte*>(y.raw_data());
#pragma omp parallel for schedule(static) if (y.numel() > 1 << 14)
    for (int64_t t = 0; t < y.dim(0); ++t) {
        std::byte* at = out + static_cast<size_t>(t * y.row_stride()) * element;
        for (size_t i = 0; i < parts.size(); ++i) {
            const size_t bytes = static_cast<size_t>(sizes[i]) * element;
            if (parts[i].defined())
                std::memcpy(at,
                            static_cast<const std::byte*>(parts[i].raw_data()) +
                                static_cast<size_t>(t * parts[i].row_stride()) * element,
                            bytes);
            else
                std::memset(at, 0, bytes);
            at += bytes;
        }
    }
}

} // namespace braid::ops::cpu

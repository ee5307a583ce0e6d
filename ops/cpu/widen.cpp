#include "ops/cpu/widen.h"

#include <algorithm>

namespace braid::ops::cpu {
namespace {

constexpr int64_t kParallelElements = 1 << 15;

Tensor wide_like(const Tensor& y) {
    return y.defined() && y.dtype() == DType::bf16 ? Tensor::empty(y.allocator(), y.shape(), DType::f32) : y;
}

/// body(first, count, strided first) for blocks of the elements of x: rows where they are strided, else
/// kBlock of them.
template <typename Body>
void for_each_block(const Tensor& x, const Body& body) {
    constexpr int64_t kBlock = 1 << 12;
    const bool packed = x.is_contiguous();
    const int64_t length = packed ? kBlock : x.numel() / x.dim(0);
    const int64_t blocks = packed ? (x.numel() + kBlock - 1) / kBlock : x.dim(0);
#pragma omp parallel for schedule(static) if (x.numel() > kParallelElements)
    for (int64_t i = 0; i < blocks; ++i)
        body(i * length, std::min(length, x.numel() - i * length), i * (packed ? length : x.row_stride()));
}

} // namespace

void widen(const bf16* x, float* y, int64_t n) {
    for (int64_t i = 0; i < n; ++i) y[i] = static_cast<float>(x[i]);
}

void round(const float* x, bf16* y, int64_t n) {
    for (int64_t i = 0; i < n; ++i) y[i] = bf16(x[i]);
}

Tensor widened(const Tensor& x) {
    const Tensor wide = wide_like(x);
    if (x.defined() && x.dtype() == DType::bf16)
        for_each_block(x, [&](int64_t first, int64_t count, int64_t from) {
            widen(x.data<bf16>() + from, wide.data<float>() + first, count);
        });
    return wide;
}

Rounded::Rounded(const Tensor& y) : y_(y), wide_(wide_like(y)) {}

Rounded::~Rounded() {
    if (!y_.defined() || y_.dtype() != DType::bf16) return;
    for_each_block(y_, [&](int64_t first, int64_t count, int64_t to) {
        round(wide_.data<float>() + first, y_.data<bf16>() + to, count);
    });
}

} // namespace braid::ops::cpu

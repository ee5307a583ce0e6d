#pragma once

#include <span>
#include <vector>

#include "tensor/tensor.h"

namespace braid::ops {

/// Elements of one flat tensor that belong to elements of another: the first, and elements between rows.
struct Rectangle {
    int64_t from, from_stride;
    int64_t to, to_stride;
    int64_t rows, columns;
    int64_t numel() const { return rows * columns; }
};

/// Rectangles where kernels read them: made once, for many calls. In the tensor they go to they must not
/// overlap.
class Rectangles {
  public:
    Rectangles() = default;
    Rectangles(Allocator& allocator, std::vector<Rectangle> rectangles);

    std::span<const Rectangle> all() const { return rectangles_; }
    int64_t num_elements() const { return num_elements_; }
    /// On the allocator's device: i64 [rectangles + 1], the elements of those before each; i64 [rectangles,
    /// 5]: from, from_stride, to, to_stride, columns. Undefined on the CPU.
    const Tensor& counts() const { return counts_; }
    const Tensor& places() const { return places_; }

  private:
    std::vector<Rectangle> rectangles_;
    Tensor counts_, places_;
    int64_t num_elements_ = 0;
};

/// Copies rectangles of x into y; both flat, of one dtype (f32 or f64), on the rectangles' device.
void copy_rectangles(const Tensor& x, const Tensor& y, const Rectangles& rectangles);

} // namespace braid::ops

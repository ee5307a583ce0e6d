#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <vector>

#include "tensor/shape.h"

namespace braid {

/// A part of a tensor: in dimension d the indices [offset[d], offset[d] + extent[d]). Its elements are stored
/// packed, row-major in extent.
struct Box {
    std::vector<int64_t> offset, extent;

    /// The number of elements; throws InternalError on overflow.
    int64_t numel() const { return Shape(extent).numel(); }
    bool operator==(const Box&) const = default;
};

/// All of a tensor of this shape.
Box whole_box(const Shape& shape);

/// Whether the box has the shape's rank, no empty dimension, and lies within the shape.
bool lies_within(const Box& box, const Shape& shape);

/// Whether every element of the shape is in exactly one of the boxes, which lie within it. Takes n log n
/// steps for n boxes, however they lie.
bool cover_once(std::span<const Box* const> boxes, const Shape& shape);

/// The elements that both boxes hold; nothing where they are disjoint. The boxes have equal rank.
std::optional<Box> intersection(const Box& a, const Box& b);

/// Visits the elements of `part`, which lies within both `a` and `b`, in runs that are contiguous in both:
/// visit(first, second, count) with the index of the run's first element in packed `a` and in packed `b`, the
/// former ascending.
void for_each_run(const Box& part, const Box& a, const Box& b,
                  const std::function<void(int64_t, int64_t, int64_t)>& visit);

/// Cuts a tensor into boxes of at most `max_elements` that follow each other row-major.
std::vector<Box> split_into_boxes(const Shape& shape, int64_t max_elements);

} // namespace braid

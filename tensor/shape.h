#pragma once

#include <array>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <string>

namespace braid {

/// The sizes of a tensor, at most kMaxRank of them; rank 0 is a scalar of one element.
class Shape {
  public:
    static constexpr int kMaxRank = 6;

    Shape() = default;
    Shape(std::initializer_list<int64_t> dims) : Shape(std::span<const int64_t>(dims.begin(), dims.size())) {}
    explicit Shape(std::span<const int64_t> dims);

    int rank() const { return rank_; }
    int64_t operator[](int dim) const { return dims_[static_cast<size_t>(dim)]; }
    std::span<const int64_t> dims() const { return {dims_.data(), static_cast<size_t>(rank_)}; }
    /// The number of elements; throws on overflow.
    int64_t numel() const;
    bool operator==(const Shape& other) const = default; // unused dimensions are zero

  private:
    std::array<int64_t, kMaxRank> dims_{};
    int rank_ = 0;
};

/// As "[128, 64]".
std::string to_string(const Shape& shape);

} // namespace braid

#include "tensor/shape.h"

#include "base/error.h"

namespace braid {

Shape::Shape(std::span<const int64_t> dims) : rank_(static_cast<int>(dims.size())) {
    check(dims.size() <= kMaxRank, "a shape has at most {} dimensions, not {}", kMaxRank, dims.size());
    for (size_t i = 0; i < dims.size(); ++i) {
        check(dims[i] >= 0, "dimension {} of a shape is {}", i, dims[i]);
        dims_[i] = dims[i];
    }
}

int64_t Shape::numel() const {
    int64_t count = 1;
    for (int64_t dim : dims())
        check(!__builtin_mul_overflow(count, dim, &count), "the size of {} overflows", to_string(*this));
    return count;
}

std::string to_string(const Shape& shape) {
    std::string text = "[";
    for (int i = 0; i < shape.rank(); ++i) text += fmt::format("{}{}", i ? ", " : "", shape[i]);
    return text + "]";
}

} // namespace braid

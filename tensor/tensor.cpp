#include "tensor/tensor.h"

#include <atomic>
#include <cstring>

namespace braid {
namespace {

// Ids only need to differ, so a counter shared by all threads is harmless: no number depends on it.
ValueId next_value_id() {
    static std::atomic<ValueId> counter{0};
    return ++counter;
}

int64_t packed_row(const Shape& shape) {
    int64_t elements = 1;
    for (int i = 1; i < shape.rank(); ++i) elements *= shape[i];
    return elements;
}

} // namespace

struct Tensor::Storage {
    Allocator& allocator;
    Allocator::Block block;

    Storage(Allocator& allocator, size_t bytes) : allocator(allocator), block(allocator.allocate(bytes)) {}
    ~Storage() { allocator.release(block); }
    Storage(const Storage&) = delete;
    Storage& operator=(const Storage&) = delete;
};

Tensor Tensor::empty(Allocator& allocator, const Shape& shape, DType dtype) {
    Tensor x;
    x.shape_ = shape;
    x.numel_ = shape.numel();
    x.row_stride_ = packed_row(shape);
    x.dtype_ = dtype;
    x.id_ = next_value_id();
    x.storage_ = std::make_shared<Storage>(allocator, x.bytes());
    return x;
}

Tensor Tensor::zeros(Allocator& allocator, const Shape& shape, DType dtype) {
    Tensor x = empty(allocator, shape, dtype);
    std::memset(x.raw_data(), 0, x.bytes());
    return x;
}

Allocator& Tensor::allocator() const {
    check(defined(), "an undefined tensor was asked where its memory lies");
    return storage_->allocator;
}

bool Tensor::is_contiguous() const {
    return rank() == 0 || dim(0) <= 1 || numel_ == 0 || row_stride_ == packed_row(shape_);
}

void* Tensor::raw_data() const {
    check(defined(), "the data of an undefined tensor was asked for");
    return static_cast<std::byte*>(storage_->block.data) + offset_ * size_of(dtype_);
}

Tensor Tensor::view(const Shape& shape) const {
    check(shape.numel() == numel_, "{} cannot be viewed as {}", to_string(shape_), to_string(shape));
    Tensor x = *this;
    x.shape_ = shape;
    if (is_contiguous())
        x.row_stride_ = packed_row(shape);
    else
        check(shape.rank() > 0 && shape[0] == dim(0),
              "a tensor with strided rows keeps its first dimension: {} as {}", to_string(shape_),
              to_string(shape));
    return x;
}

Tensor Tensor::rows(int64_t first, int64_t count) const {
    check(rank() > 0 && first >= 0 && count >= 0 && first + count <= dim(0), "rows {}+{} of {}", first, count,
          to_string(shape_));
    Tensor x = detach();
    std::array<int64_t, Shape::kMaxRank> dims{};
    for (int i = 0; i < rank(); ++i) dims[static_cast<size_t>(i)] = i == 0 ? count : dim(i);
    x.shape_ = Shape(std::span<const int64_t>(dims.data(), static_cast<size_t>(rank())));
    x.numel_ = x.shape_.numel();
    x.offset_ += static_cast<size_t>(first * row_stride_);
    return x;
}

Tensor Tensor::columns(int64_t first, int64_t count) const {
    check(rank() == 2 && first >= 0 && count >= 0 && first + count <= dim(1), "columns {}+{} of {}", first,
          count, to_string(shape_));
    Tensor x = detach();
    x.shape_ = {dim(0), count};
    x.numel_ = dim(0) * count;
    x.offset_ += static_cast<size_t>(first);
    return x;
}

Tensor Tensor::detach() const {
    Tensor x = *this;
    x.id_ = next_value_id();
    return x;
}

size_t Tensor::storage_bytes() const {
    return storage_ ? storage_->block.bytes : 0;
}

void expect_shape(const Tensor& x, const Shape& shape, const char* what) {
    check(x.defined(), "{}: expected shape {}, found no tensor", what, to_string(shape));
    check(x.shape() == shape, "{}: expected shape {}, found {}", what, to_string(shape),
          to_string(x.shape()));
}

void expect_dtype(const Tensor& x, DType dtype, const char* what) {
    check(x.dtype() == dtype, "{}: expected {}, found {}", what, name_of(dtype), name_of(x.dtype()));
}

} // namespace braid

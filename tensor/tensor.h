#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "base/dtype.h"
#include "tensor/memory/allocator.h"
#include "tensor/shape.h"

namespace braid {

/// Names a value for differentiation. Two tensors with one id hold the same numbers in the same order.
using ValueId = uint64_t;

/// A value's identity without its numbers: what a backward function keeps of an input it need not read.
struct ValueRef {
    ValueId id = 0;
    Shape shape;
    DType dtype = DType::f32;
};

/// A strided handle on memory of one device; copies share the memory, which is freed with the last of them.
///
/// Constness is shallow, as with a pointer. A tensor does no maths: see ops/. The convention for operations:
/// inputs may have any stride in dimension 0 (the tokens), all further dimensions are packed; outputs are
/// packed throughout.
class Tensor {
  public:
    Tensor() = default;
    /// Memory with undefined contents.
    static Tensor empty(Allocator& allocator, const Shape& shape, DType dtype);
    static Tensor zeros(Allocator& allocator, const Shape& shape, DType dtype);

    /// Sets all bytes of a contiguous tensor to zero.
    void fill_zero() const;

    /// Sets all elements of a contiguous floating tensor.
    void fill(double value) const;

    bool defined() const { return storage_ != nullptr; }
    const Shape& shape() const { return shape_; }
    int rank() const { return shape_.rank(); }
    /// Size of a dimension; a negative index counts from the end.
    int64_t dim(int index) const { return shape_[index < 0 ? index + shape_.rank() : index]; }
    int64_t numel() const { return numel_; }
    DType dtype() const { return dtype_; }
    Device device() const { return allocator().device(); }
    /// Where the memory comes from, and temporary memory beside it can.
    Allocator& allocator() const;
    ValueId id() const { return id_; }
    ValueRef ref() const { return {id_, shape_, dtype_}; }

    /// Elements between neighbours in dimension 0.
    int64_t row_stride() const { return row_stride_; }
    bool is_contiguous() const;
    void* raw_data() const;
    size_t bytes() const { return static_cast<size_t>(numel_) * size_of(dtype_); }
    /// The first element; T must be the tensor's element type.
    template <typename T>
    T* data() const {
        check(dtype_of<T>() == dtype_, "a {} tensor was read as {}", name_of(dtype_), name_of(dtype_of<T>()));
        return static_cast<T*>(raw_data());
    }
    /// All elements of a contiguous tensor.
    template <typename T>
    std::span<T> span() const {
        check(is_contiguous(), "span() of a tensor that is not contiguous");
        return {data<T>(), static_cast<size_t>(numel_)};
    }

    /// The same value in another shape of as many elements. The id stays: gradients reach the value whatever
    /// shape they come in. A tensor with strided rows keeps its dimension 0.
    Tensor view(const Shape& shape) const;
    /// Rows [first, first + count) of dimension 0 as a new value (use ops:: where gradients must flow).
    Tensor rows(int64_t first, int64_t count) const;
    /// Columns [first, first + count) of a rank-2 tensor as a new value (use ops:: where gradients must
    /// flow).
    Tensor columns(int64_t first, int64_t count) const;
    /// The same memory under a new id.
    Tensor detach() const;

    /// Work that `stream` has been given by now uses the memory, which is then not handed out again before
    /// that stream has passed.
    void record_use(const Stream& stream) const;

    /// Whether no other tensor shares the memory, so that it may be overwritten.
    bool is_sole_owner() const { return storage_.use_count() == 1; }
    /// Identifies the memory, for counting it once.
    const void* storage_key() const { return storage_.get(); }
    /// What the memory takes from its allocator, in bytes.
    size_t storage_bytes() const;

  private:
    struct Storage;
    std::shared_ptr<Storage> storage_;
    size_t offset_ = 0; // in elements
    Shape shape_;
    int64_t numel_ = 0;
    int64_t row_stride_ = 0;
    ValueId id_ = 0;
    DType dtype_ = DType::f32;
};

/// y = x, of one dtype, on any devices: both packed and of as many elements, or of one shape with rows that
/// may be strided. On return x may be let go, and overwritten by the host; a y on the host holds the values.
/// Where both are on GPUs the copy runs in y's stream: x's, if another, may overwrite x only after a wait.
void copy(const Tensor& x, const Tensor& y);
/// x's values in memory of `allocator`: x itself if it lies on that device.
Tensor to_device(Allocator& allocator, const Tensor& x);

/// A tensor of these values in memory of `allocator`, in its stream's order; unlike copy(), does not wait for
/// the GPU. The values may go on return.
template <typename T>
Tensor upload(Allocator& allocator, std::span<const T> values);

/// Throws InternalError unless x has this shape or dtype; `what` names the operation and the argument.
void expect_shape(const Tensor& x, const Shape& shape, const char* what);
void expect_dtype(const Tensor& x, DType dtype, const char* what);

} // namespace braid

#include "tensor/tensor.h"

#include <algorithm>
#include <atomic>
#include <cstring>

#include "tensor/cuda/arithmetic.h"
#include "tensor/cuda/runtime.h"
#include "tensor/memory/build_cuda.h"

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
    x.fill_zero();
    return x;
}

void Tensor::fill_zero() const {
    check(is_contiguous(), "fill_zero() of a tensor that is not contiguous");
    if constexpr (kBuildCuda)
        if (device().kind == DeviceKind::cuda)
            return cuda::fill_zero(raw_data(), bytes(), allocator().stream().native());
    // By all threads where it is much: the first touch of memory has the kernel clear it page by page.
    constexpr size_t kPart = size_t{1} << 22;
    auto* const data = static_cast<std::byte*>(raw_data());
    const auto count = static_cast<int64_t>((bytes() + kPart - 1) / kPart);
#pragma omp parallel for schedule(static) if (count > 4)
    for (int64_t part = 0; part < count; ++part) {
        const size_t first = static_cast<size_t>(part) * kPart;
        std::memset(data + first, 0, std::min(kPart, bytes() - first));
    }
}

void Tensor::fill(double value) const {
    check(is_contiguous(), "fill() of a tensor that is not contiguous");
    if constexpr (kBuildCuda)
        if (device().kind == DeviceKind::cuda) return cuda::fill(*this, value);
    dispatch_storage(dtype_, [&]<typename T>() {
        std::fill_n(data<T>(), numel_, static_cast<T>(static_cast<Accumulation<T>>(value)));
    });
}

Allocator& Tensor::allocator() const {
    check(defined(), "an undefined tensor was asked where its memory lies");
    return storage_->allocator;
}

void Tensor::record_use(const Stream& stream) const {
    allocator().record_use(storage_->block, stream);
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

void copy(const Tensor& x, const Tensor& y) {
    const bool packed = x.is_contiguous() && y.is_contiguous();
    check(x.dtype() == y.dtype() && x.numel() == y.numel() && (packed || x.shape() == y.shape()),
          "copy of {} {} to {} {}", name_of(x.dtype()), to_string(x.shape()), name_of(y.dtype()),
          to_string(y.shape()));
    if (x.numel() == 0) return;
    const size_t element = size_of(x.dtype()),
                 width = packed ? x.bytes() : x.bytes() / static_cast<size_t>(x.dim(0));
    const int64_t rows = packed ? 1 : x.dim(0);
    const size_t from_pitch = packed ? width : static_cast<size_t>(x.row_stride()) * element,
                 to_pitch = packed ? width : static_cast<size_t>(y.row_stride()) * element;
    if constexpr (kBuildCuda) {
        const bool from = x.device().kind == DeviceKind::cuda, to = y.device().kind == DeviceKind::cuda;
        if (from || to) {
            const Stream& stream = (to ? y : x).allocator().stream();
            const bool crosses = from && to && !(stream == x.allocator().stream());
            if (crosses) x.allocator().stream().synchronize();
            cuda::copy_rows(y.raw_data(), to_pitch, x.raw_data(), from_pitch, width,
                            static_cast<size_t>(rows), stream.native());
            if (crosses) x.record_use(stream);
            if (!(from && to)) stream.synchronize();
            return;
        }
    }
    const auto* from = static_cast<const std::byte*>(x.raw_data());
    auto* to = static_cast<std::byte*>(y.raw_data());
    for (int64_t i = 0; i < rows; ++i, from += from_pitch, to += to_pitch) std::memcpy(to, from, width);
}

Tensor to_device(Allocator& allocator, const Tensor& x) {
    if (x.device() == allocator.device()) return x;
    Tensor y = Tensor::empty(allocator, x.shape(), x.dtype());
    copy(x, y);
    return y;
}

template <typename T>
Tensor upload(Allocator& allocator, std::span<const T> values) {
    Tensor y = Tensor::empty(allocator, {static_cast<int64_t>(values.size())}, dtype_of<T>());
    if (values.empty()) return y;
    if constexpr (kBuildCuda)
        if (y.device().kind == DeviceKind::cuda) {
            // The runtime takes pageable memory into a buffer of its own before it returns.
            cuda::copy(y.raw_data(), values.data(), y.bytes(), allocator.stream().native());
            return y;
        }
    std::memcpy(y.raw_data(), values.data(), y.bytes());
    return y;
}

template Tensor upload(Allocator&, std::span<const int32_t>);
template Tensor upload(Allocator&, std::span<const int64_t>);
template Tensor upload(Allocator&, std::span<const double>);

void expect_shape(const Tensor& x, const Shape& shape, const char* what) {
    check(x.defined(), "{}: expected shape {}, found no tensor", what, to_string(shape));
    check(x.shape() == shape, "{}: expected shape {}, found {}", what, to_string(shape),
          to_string(x.shape()));
}

void expect_dtype(const Tensor& x, DType dtype, const char* what) {
    check(x.dtype() == dtype, "{}: expected {}, found {}", what, name_of(dtype), name_of(x.dtype()));
}

} // namespace braid

#include "tests/support/testing_context.h"

#include <cmath>
#include <cstring>

namespace braid::testing {
namespace {

template <typename Body>
void for_each_index(const Tensor& x, Body&& body) { // memory offset, running number
    const int64_t rows = x.rank() ? x.dim(0) : 1, row = rows ? x.numel() / std::max<int64_t>(rows, 1) : 0;
    for (int64_t i = 0; i < rows; ++i)
        for (int64_t j = 0; j < row; ++j) body(i * x.row_stride() + j, i * row + j);
}

} // namespace

void TestContext::set_documents(const std::vector<int32_t>& lengths, int64_t num_sequences) {
    auto documents = std::make_shared<Documents>();
    documents->offsets = {0};
    for (int32_t length : lengths) documents->offsets.push_back(documents->offsets.back() + length);
    documents->num_sequences = num_sequences;
    ctx.documents = documents;
}

DocumentsPtr documents_of(const std::vector<int32_t>& lengths) {
    auto documents = std::make_shared<Documents>();
    documents->offsets = {0};
    for (const int32_t length : lengths) documents->offsets.push_back(documents->offsets.back() + length);
    return documents;
}

Tensor random_tensor(Allocator& allocator, const Shape& shape, DType dtype, std::string_view name,
                     double scale, double shift) {
    const RngStream stream(1234, RngPurpose::test, name);
    Tensor x = Tensor::empty(allocator, shape, dtype);
    dispatch_storage(dtype, [&]<typename T>() {
        for (int64_t i = 0; i < x.numel(); ++i)
            x.data<T>()[i] = static_cast<T>(shift + scale * stream.normal(static_cast<uint64_t>(i)));
    });
    return x;
}

Tensor on_device(TestContext& t, const Tensor& x) {
    return to_device(*t.ctx.allocator, x);
}

std::vector<double> values_of(TestContext& t, const Tensor& x) {
    return to_vector(to_device(t.allocator, x));
}

std::vector<double> to_vector(const Tensor& x) {
    std::vector<double> values(static_cast<size_t>(x.numel()));
    const auto fill = [&](const auto* data) {
        for_each_index(x, [&](int64_t at, int64_t i) {
            values[static_cast<size_t>(i)] = static_cast<double>(data[at]);
        });
    };
    switch (x.dtype()) {
        case DType::f32:
            fill(x.data<float>());
            break;
        case DType::f64:
            fill(x.data<double>());
            break;
        case DType::i32:
            fill(x.data<int32_t>());
            break;
        case DType::i64:
            fill(x.data<int64_t>());
            break;
        case DType::u8:
            fill(x.data<uint8_t>());
            break;
        case DType::bf16:
            for_each_index(x, [&](int64_t at, int64_t i) {
                values[static_cast<size_t>(i)] = static_cast<double>(static_cast<float>(x.data<bf16>()[at]));
            });
            break;
        default:
            ADD_FAILURE() << "to_vector: " << name_of(x.dtype());
    }
    return values;
}

Tensor from_vector(Allocator& allocator, const Shape& shape, DType dtype, const std::vector<double>& values) {
    Tensor x = Tensor::empty(allocator, shape, dtype);
    check(values.size() == static_cast<size_t>(x.numel()), "{} numbers for shape {}", values.size(),
          to_string(shape));
    for (size_t i = 0; i < values.size(); ++i) {
        switch (dtype) {
            case DType::f32:
                x.data<float>()[i] = static_cast<float>(values[i]);
                break;
            case DType::f64:
                x.data<double>()[i] = values[i];
                break;
            case DType::bf16:
                x.data<bf16>()[i] = bf16(static_cast<float>(values[i]));
                break;
            case DType::i32:
                x.data<int32_t>()[i] = static_cast<int32_t>(values[i]);
                break;
            case DType::i64:
                x.data<int64_t>()[i] = static_cast<int64_t>(values[i]);
                break;
            default:
                throw InternalError("from_vector: {}", name_of(dtype));
        }
    }
    return x;
}

Tensor converted(Allocator& allocator, const Tensor& x, DType dtype) {
    return from_vector(allocator, x.shape(), dtype, to_vector(x));
}

double relative_error(const Tensor& a, const Tensor& b, double floor) {
    const auto va = to_vector(a), vb = to_vector(b);
    double difference = 0, size = floor;
    for (size_t i = 0; i < va.size(); ++i) {
        const double d = std::abs(va[i] - vb[i]);
        if (!(d <= difference)) difference = d; // a NaN sticks
        size = std::max(size, std::abs(vb[i]));
    }
    return difference / size;
}

void expect_close(const Tensor& a, const Tensor& b, double bound, std::string_view what) {
    ASSERT_TRUE(a.defined() && b.defined()) << what << ": a tensor is missing";
    ASSERT_EQ(to_string(a.shape()), to_string(b.shape())) << what;
    const double error = relative_error(a, b);
    if (error <= bound) return;
    const auto va = to_vector(a), vb = to_vector(b);
    size_t worst = 0;
    for (size_t i = 0; i < va.size(); ++i)
        if (!(std::abs(va[i] - vb[i]) <= std::abs(va[worst] - vb[worst]))) worst = i;
    ADD_FAILURE() << what << ": relative error " << error << " above " << bound << "; element " << worst
                  << " of " << to_string(a.shape()) << " is " << va[worst] << ", expected " << vb[worst];
}

void expect_identical(const Tensor& a, const Tensor& b, std::string_view what) {
    ASSERT_EQ(to_string(a.shape()), to_string(b.shape())) << what;
    ASSERT_EQ(a.dtype(), b.dtype()) << what;
    ASSERT_TRUE(a.is_contiguous() && b.is_contiguous()) << what;
    if (std::memcmp(a.raw_data(), b.raw_data(), a.bytes()) == 0) return;
    const auto va = to_vector(a), vb = to_vector(b);
    for (size_t i = 0; i < va.size(); ++i)
        if (va[i] != vb[i]) {
            ADD_FAILURE() << what << ": element " << i << " of " << to_string(a.shape()) << " is " << va[i]
                          << ", expected exactly " << vb[i];
            return;
        }
    ADD_FAILURE() << what << ": bits differ (zeros of two signs, or NaN)";
}

} // namespace braid::testing

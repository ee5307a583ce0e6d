#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <string_view>

#include "base/rng.h"
#include "layers/sublayer/layer_context.h"

namespace braid::testing {

/// An allocator, a tape and a context around them, for one test.
struct TestContext {
    Allocator allocator; // of the host
    std::unique_ptr<Allocator> device_allocator;
    Tape tape;
    LayerContext ctx;

    /// With `recording`, operations are put on the tape.
    explicit TestContext(bool recording = false) {
        ctx.allocator = &allocator;
        if (recording) ctx.tape = &tape;
    }
    /// Operations run on this device.
    explicit TestContext(Device device) : TestContext() {
        if (device.kind == DeviceKind::cpu) return;
        device_allocator = std::make_unique<Allocator>(device);
        ctx.allocator = device_allocator.get();
        ctx.stream = device_allocator->stream();
    }
    /// Documents of these lengths in one sequence.
    void set_documents(const std::vector<int32_t>& lengths, int64_t num_sequences = 1);
};

/// Documents of these lengths.
DocumentsPtr documents_of(const std::vector<int32_t>& lengths);
/// Standard normal numbers times `scale` plus `shift`, a pure function of (name, index).
Tensor random_tensor(Allocator& allocator, const Shape& shape, DType dtype, std::string_view name,
                     double scale = 1, double shift = 0);
/// A copy with packed memory of the same or another element type.
Tensor converted(Allocator& allocator, const Tensor& x, DType dtype);
/// A copy where operations of `t` run.
Tensor on_device(TestContext& t, const Tensor& x);
/// All elements, in order, as double.
std::vector<double> to_vector(const Tensor& x);
/// The same of a result of `t`, wherever it lies.
std::vector<double> values_of(TestContext& t, const Tensor& x);
Tensor from_vector(Allocator& allocator, const Shape& shape, DType dtype, const std::vector<double>& values);

/// max |a - b| / max(max |b|, floor): the error of a tensor.
double relative_error(const Tensor& a, const Tensor& b, double floor = 1e-300);
/// Expects that relative_error(a, b) <= bound and says where the worst element is.
void expect_close(const Tensor& a, const Tensor& b, double bound, std::string_view what);
/// Expects equal shapes, types and bits.
void expect_identical(const Tensor& a, const Tensor& b, std::string_view what);

} // namespace braid::testing

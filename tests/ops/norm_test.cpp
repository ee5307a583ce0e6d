#include "ops/basic/norm.h"

#include <cmath>

#include "ops/basic/split.h"
#include "tests/support/op_case.h"

namespace braid::testing {
namespace {

constexpr double kEps = 1e-3; // large enough that a norm without it would show

OpCase rms_case(Allocator& allocator, const Shape& shape, bool zero_centered, bool with_weight) {
    OpCase op{"rms_norm", {}, {random_tensor(allocator, shape, DType::f64, "x", 0.3, 0.1)}, {}};
    if (with_weight) op.parameters = {{{shape[shape.rank() - 1]}}};
    op.forward = [=](Context& ctx, const Values& x, const OpCase::Weights& w) {
        return Values{ops::rms_norm(ctx, x[0], with_weight ? w[0] : nullptr, kEps, zero_centered)};
    };
    return op;
}

OpCase layer_norm_case(Allocator& allocator, const Shape& shape, bool with_weights) {
    OpCase op{"layer_norm", {}, {random_tensor(allocator, shape, DType::f64, "x", 0.3, 2)}, {}};
    if (with_weights) op.parameters = {{{shape[shape.rank() - 1]}}, {{shape[shape.rank() - 1]}}};
    op.forward = [=](Context& ctx, const Values& x, const OpCase::Weights& w) {
        return Values{
            ops::layer_norm(ctx, x[0], with_weights ? w[0] : nullptr, with_weights ? w[1] : nullptr, kEps)};
    };
    return op;
}

OpCase gated_case(Allocator& allocator, const Shape& shape, ops::GateKind kind) {
    return {"gated_rms_norm",
            {{{shape[shape.rank() - 1]}}},
            {random_tensor(allocator, shape, DType::f64, "x"),
             random_tensor(allocator, shape, DType::f64, "gate", 2)},
            [=](Context& ctx, const Values& x, const OpCase::Weights& w) {
                return Values{ops::gated_rms_norm(ctx, x[0], x[1], w[0], kEps, kind)};
            }};
}

const Shape kShapes[] = {{1, 1}, {1, 7}, {5, 3}, {4, 3, 5}, {3, 2, 1}, {0, 4}, {70, 9}};

TEST(norm, rms_norm_gradients) {
    TestContext t;
    for (const Shape& shape : kShapes)
        for (const bool zero_centered : {false, true}) {
            check_op_gradients(rms_case(t.allocator, shape, zero_centered, true));
            check_op_gradients(rms_case(t.allocator, shape, zero_centered, false));
        }
}

TEST(norm, layer_norm_gradients) {
    TestContext t;
    for (const Shape& shape : kShapes)
        for (const bool with_weights : {false, true})
            check_op_gradients(layer_norm_case(t.allocator, shape, with_weights));
}

TEST(norm, gated_rms_norm_gradients) {
    TestContext t;
    for (const Shape& shape : kShapes)
        for (const auto kind : {ops::GateKind::silu, ops::GateKind::sigmoid})
            check_op_gradients(gated_case(t.allocator, shape, kind));
}

TEST(norm, strided_heads) {
    TestContext t;
    check_op_gradients({"strided norms",
                        {{{3}}},
                        {random_tensor(t.allocator, {5, 14}, DType::f64, "wide")},
                        [](Context& ctx, const Values& x, const OpCase::Weights& w) {
                            const int64_t sizes[] = {1, 6, 6, 1};
                            const auto parts = ops::split_columns(ctx, x[0], sizes);
                            const Tensor a = parts[1].view({5, 2, 3}), b = parts[2].view({5, 2, 3});
                            return Values{ops::rms_norm(ctx, a, w[0], kEps, true),
                                          ops::layer_norm(ctx, b, w[0], nullptr, kEps),
                                          ops::gated_rms_norm(ctx, a, b, w[0], kEps, ops::GateKind::silu)};
                        }});
}

// The definitions, written out per row. Rounding: a dozen operations on numbers of size up to ten.
TEST(norm, match_the_definitions) {
    TestContext t;
    const int64_t n = 6, rows = 8;
    const auto reference = [&](const OpCase& op, const auto& formula) {
        const auto y = to_vector(run_op(op, t, DType::f64)[0]), x = to_vector(op.inputs[0]);
        const auto w = to_vector(random_tensor(t.allocator, {n}, DType::f64, op.name + " parameter 0"));
        for (size_t r = 0; r < rows; ++r) {
            double mean = 0, square = 0;
            for (size_t j = 0; j < n; ++j) mean += x[r * n + j] / n;
            for (size_t j = 0; j < n; ++j) square += x[r * n + j] * x[r * n + j] / n;
            for (size_t j = 0; j < n; ++j)
                EXPECT_NEAR(y[r * n + j], formula(x[r * n + j], mean, square, w[j], r * n + j), 1e-13)
                    << op.name;
        }
    };
    const Shape shape = {4, 2, n};
    for (const bool zero_centered : {false, true})
        reference(rms_case(t.allocator, shape, zero_centered, true),
                  [&](double x, double, double square, double w, size_t) {
                      return x / std::sqrt(square + kEps) * (zero_centered ? 1 + w : w);
                  });
    const auto b = to_vector(random_tensor(t.allocator, {n}, DType::f64, "layer_norm parameter 1"));
    reference(layer_norm_case(t.allocator, shape, true),
              [&](double x, double mean, double square, double w, size_t at) {
                  return (x - mean) / std::sqrt(square - mean * mean + kEps) * w + b[at % n];
              });
    for (const auto kind : {ops::GateKind::silu, ops::GateKind::sigmoid}) {
        const OpCase op = gated_case(t.allocator, shape, kind);
        const auto gate = to_vector(op.inputs[1]);
        reference(op, [&](double x, double, double square, double w, size_t at) {
            const double s = 1 / (1 + std::exp(-gate[at]));
            return w * x / std::sqrt(square + kEps) * (kind == ops::GateKind::silu ? gate[at] * s : s);
        });
    }
}

// The longest sums are a weight's gradient over all rows; an element of it is a product of six factors (dy,
// x, the root, the gate's three).
TEST(norm, f32_and_threads) {
    TestContext t;
    for (const OpCase& op :
         {rms_case(t.allocator, {300, 130}, true, true), rms_case(t.allocator, {300, 4, 33}, false, true),
          layer_norm_case(t.allocator, {600, 67}, true),
          gated_case(t.allocator, {300, 4, 32}, ops::GateKind::silu),
          gated_case(t.allocator, {300, 2, 35}, ops::GateKind::sigmoid)}) {
        const Shape& shape = op.inputs[0].shape();
        expect_f32_close_to_f64(op, random_sum_error(shape.numel() / shape.dims().back(), 12));
        expect_same_bits_for_any_threads(op);
        expect_bf16_close_to_f32(op);
    }
}

TEST(norm, refuses_a_weight_of_another_width) {
    TestContext t;
    OpCase op = rms_case(t.allocator, {2, 5}, true, true);
    op.parameters = {{{4}}};
    EXPECT_THROW(run_op(op, t, DType::f64), InternalError);
}

} // namespace
} // namespace braid::testing

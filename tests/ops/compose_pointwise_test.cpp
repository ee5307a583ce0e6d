#include "ops/compose/pointwise.h"

#include <cmath>
#include <limits>

#include "ops/basic/split.h"
#include "tests/support/op_case.h"

namespace braid::testing {
namespace {

/// All functions of single elements at once, with rows that are strided: x is columns of a wider tensor.
OpCase pointwise_case(Allocator& allocator, int64_t tokens, int64_t width) {
    return {"pointwise",
            {},
            {random_tensor(allocator, {tokens, 2 * width}, DType::f64, "x"),
             random_tensor(allocator, {tokens, width}, DType::f64, "positive", 0.2, 2)},
            [width](Context& ctx, const Values& x, const OpCase::Weights&) {
                const int64_t halves[] = {width, width};
                const auto parts = ops::split_columns(ctx, x[0], halves);
                return Values{ops::multiply(ctx, parts[0], parts[1]), ops::exp(ctx, parts[0]),
                              ops::log(ctx, x[1]), ops::softplus(ctx, parts[1])};
            }};
}

OpCase heads_case(Allocator& allocator, int64_t tokens, int64_t heads, int64_t size) {
    return {"heads",
            {{{heads}}},
            {random_tensor(allocator, {tokens, heads, size}, DType::f64, "x"),
             random_tensor(allocator, {tokens, heads}, DType::f64, "factor")},
            [](Context& ctx, const Values& x, const OpCase::Weights& w) {
                const Tensor weight = ops::value_of(ctx, w[0]);
                const Tensor rows = x[0].view({x[0].dim(0) * x[0].dim(2), x[0].dim(1)});
                return Values{ops::multiply_rows(ctx, x[0], x[1]), ops::scale_heads(ctx, x[0], weight),
                              ops::sum_columns(ctx, x[0]), ops::add_vector(ctx, rows, weight)};
            }};
}

TEST(compose_pointwise, gradients) {
    TestContext t;
    for (const auto& [tokens, width] : {std::pair<int64_t, int64_t>{1, 1}, {5, 3}, {0, 2}})
        check_op_gradients(pointwise_case(t.allocator, tokens, width));
    for (const auto& sizes : {std::array<int64_t, 3>{1, 1, 1}, {5, 3, 4}, {0, 2, 3}})
        check_op_gradients(heads_case(t.allocator, sizes[0], sizes[1], sizes[2]));
}

TEST(compose_pointwise, match_the_definitions) {
    TestContext t, tested(test_device());
    const OpCase op = pointwise_case(t.allocator, 4, 3);
    const Values results = run_op(op, tested, DType::f64);
    const auto x = to_vector(op.inputs[0]), positive = to_vector(op.inputs[1]);
    for (size_t i = 0; i < 12; ++i) { // a few roundings of numbers near one
        const double a = x[i / 3 * 6 + i % 3], b = x[i / 3 * 6 + 3 + i % 3];
        EXPECT_NEAR(to_vector(results[0])[i], a * b, 1e-14);
        EXPECT_NEAR(to_vector(results[1])[i], std::exp(a), 1e-14);
        EXPECT_NEAR(to_vector(results[2])[i], std::log(positive[i]), 1e-14);
        EXPECT_NEAR(to_vector(results[3])[i], std::log1p(std::exp(b)), 1e-14);
    }
    const OpCase heads = heads_case(t.allocator, 4, 2, 3);
    const Values scaled = run_op(heads, tested, DType::f64);
    const auto h = to_vector(heads.inputs[0]), factor = to_vector(heads.inputs[1]);
    const auto w = to_vector(random_tensor(t.allocator, {2}, DType::f64, "heads parameter 0"));
    for (size_t row = 0; row < 8; ++row) {
        double sum = 0;
        for (size_t j = 0; j < 3; ++j) {
            EXPECT_EQ(to_vector(scaled[0])[row * 3 + j], h[row * 3 + j] * factor[row]);
            EXPECT_EQ(to_vector(scaled[1])[row * 3 + j], h[row * 3 + j] * w[row % 2]);
            sum += h[row * 3 + j];
        }
        EXPECT_NEAR(to_vector(scaled[2])[row], sum, 1e-14);
    }
    for (size_t i = 0; i < 24; ++i) EXPECT_EQ(to_vector(scaled[3])[i], h[i] + w[i % 2]);
}

TEST(compose_pointwise, far_numbers_neither_overflow_nor_vanish) {
    TestContext t, tested(test_device());
    OpCase op{"far",
              {},
              {from_vector(t.allocator, {4}, DType::f64, {-800, 800, -40, 40})},
              [](Context& ctx, const Values& x, const OpCase::Weights&) {
                  return Values{ops::softplus(ctx, x[0])};
              }};
    const auto y = to_vector(run_op(op, tested, DType::f64)[0]);
    EXPECT_EQ(y[0], 0);
    EXPECT_EQ(y[1], 800);
    EXPECT_NEAR(y[2] / std::exp(-40.0), 1, 1e-14);
    EXPECT_EQ(y[3], 40);
}

TEST(compose_pointwise, clamp_passes_gradients_within_its_limits_only) {
    TestContext t, tested(test_device());
    // Away from the limits, where the slope jumps.
    OpCase op{"clamp",
              {},
              {from_vector(t.allocator, {5}, DType::f64, {-3, -0.5, 0.25, 0.9, 7})},
              [](Context& ctx, const Values& x, const OpCase::Weights&) {
                  return Values{ops::clamp(ctx, x[0], -0.75, 0.5)};
              }};
    check_op_gradients(op);
    EXPECT_EQ(to_vector(run_op(op, tested, DType::f64)[0]),
              (std::vector<double>{-0.75, -0.5, 0.25, 0.5, 0.5}));
    // Of numbers that bf16 holds nothing is rounded in any precision.
    const Values exact = run_op(op, t, DType::f64, true);
    for (const DType precision : {DType::f32, DType::bf16}) {
        const Values found = run_op(op, tested, precision, true);
        ASSERT_EQ(found.size(), 2u); // the gradient too
        for (size_t i = 0; i < found.size(); ++i)
            EXPECT_EQ(to_vector(found[i]), to_vector(exact[i])) << name_of(precision);
    }
    const double nan = std::numeric_limits<double>::quiet_NaN();
    op.inputs = {from_vector(t.allocator, {1}, DType::f64, {nan})};
    EXPECT_TRUE(std::isnan(to_vector(run_op(op, tested, DType::f64)[0])[0]));
    EXPECT_THROW(ops::clamp(t.ctx, op.inputs[0], 1, 0), InternalError);
}

TEST(compose_pointwise, f32_and_threads) {
    TestContext t;
    for (const OpCase& op : {pointwise_case(t.allocator, 300, 35), heads_case(t.allocator, 300, 5, 33)}) {
        // The longest sums are a head's weight's gradient over all tokens.
        expect_f32_close_to_f64(op, random_sum_error(300 * 33, 4));
        expect_same_bits_for_any_threads(op);
    }
    // Gradients of x are sums of three rounded terms, or of four with the two halves of the product.
    expect_bf16_close_to_f32(pointwise_case(t.allocator, 300, 35), {.rounded = 4});
    // That of a factor is one rounding of a sum of f32; of x, a sum of four rounded terms and what they give.
    // A weight's is a sum of f32 of numbers that are not rounded, but for what comes of x + w.
    expect_bf16_close_to_f32(heads_case(t.allocator, 300, 5, 33), {.rounded = 6, .wide = 1});
}

TEST(compose_pointwise, refuse_shapes_that_do_not_fit) {
    TestContext t;
    const Tensor x = random_tensor(t.allocator, {2, 3, 4}, DType::f32, "x");
    EXPECT_THROW(ops::multiply(t.ctx, x, random_tensor(t.allocator, {2, 3, 5}, DType::f32, "y")),
                 InternalError);
    EXPECT_THROW(ops::multiply_rows(t.ctx, x, random_tensor(t.allocator, {3, 4}, DType::f32, "y")),
                 InternalError);
}

} // namespace
} // namespace braid::testing

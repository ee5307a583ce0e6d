#include "ops/recurrence/delta_decay.h"

#include <cmath>

#include "tests/support/op_case.h"

namespace braid::testing {
namespace {

OpCase delta_decay_case(Allocator& allocator, int64_t tokens, int64_t heads, double scale) {
    return {"delta decay",
            {{{heads}, 0.5, 1}, {{heads}, 0.5, 1}},
            {random_tensor(allocator, {tokens, heads}, DType::f64, "a", scale)},
            [](Context& ctx, const Values& x, const OpCase::Weights& w) {
                return Values{ops::delta_decay(ctx, x[0], w[0], w[1])};
            }};
}

TEST(delta_decay, gradients) {
    TestContext t;
    for (const auto& [tokens, heads] : {std::array<int64_t, 2>{1, 1}, {7, 3}, {0, 2}, {600, 2}})
        check_op_gradients(delta_decay_case(t.allocator, tokens, heads, 1));
    check_op_gradients(delta_decay_case(t.allocator, 40, 2, 20)); // far out on both sides of softplus
}

TEST(delta_decay, matches_the_formula) {
    TestContext t;
    const OpCase op = delta_decay_case(t.allocator, 50, 3, 10);
    const auto a = to_vector(op.inputs[0]), g = to_vector(run_op(op, t, DType::f64)[0]);
    const auto rate =
        to_vector(random_tensor(t.allocator, {3}, DType::f64, "delta decay parameter 0", 0.5, 1));
    const auto bias =
        to_vector(random_tensor(t.allocator, {3}, DType::f64, "delta decay parameter 1", 0.5, 1));
    for (size_t i = 0; i < a.size(); ++i) {
        const double expected = -std::exp(rate[i % 3]) * std::log1p(std::exp(a[i] + bias[i % 3]));
        EXPECT_NEAR(g[i], expected, 1e-13 * std::abs(expected));
    }
}

TEST(delta_decay, stays_finite_and_not_positive) {
    TestContext t;
    const OpCase op = delta_decay_case(t.allocator, 200, 2, 1000);
    for (const double g : to_vector(run_op(op, t, DType::f32)[0])) {
        EXPECT_TRUE(std::isfinite(g));
        EXPECT_LE(g, 0);
    }
}

TEST(delta_decay, strided_f32_and_threads) {
    TestContext t;
    OpCase op = delta_decay_case(t.allocator, 3500, 5, 1);
    const Tensor wide = random_tensor(t.allocator, {3500, 9}, DType::f64, "wide");
    op.inputs = {converted(t.allocator, wide.columns(1, 5), DType::f64)};
    OpCase strided = op;
    strided.forward = [&](Context& ctx, const Values&, const OpCase::Weights& w) {
        return op.forward(ctx, {wide.columns(1, 5)}, w);
    };
    const Values expected = run_op(op, t, DType::f64), found = run_op(strided, t, DType::f64);
    expect_identical(found[0], expected[0], "g");
    // sums of 3500 signed terms of size one, in double; the terms carry a few roundings each
    expect_f32_close_to_f64(op, 64 * std::numeric_limits<float>::epsilon());
    expect_same_bits_for_any_threads(op);
    expect_bf16_close_to_f32(op);
}

} // namespace
} // namespace braid::testing

#include "ops/basic/l2_norm.h"

#include <cmath>

#include "tests/support/op_case.h"

namespace braid::testing {
namespace {

OpCase norm_case(Allocator& allocator, const Shape& shape, double scale, double eps) {
    return {"l2 norm",
            {},
            {random_tensor(allocator, shape, DType::f64, "x", scale)},
            [eps](Context& ctx, const Values& x, const OpCase::Weights&) {
                return Values{ops::l2_norm(ctx, x[0], eps)};
            }};
}

TEST(l2_norm, gradients) {
    TestContext t;
    for (const Shape& shape : {Shape{1, 1, 1}, Shape{5, 2, 3}, Shape{2, 3, 33}, Shape{0, 2, 4}}) {
        check_op_gradients(norm_case(t.allocator, shape, 1, 1e-6));
        check_op_gradients(norm_case(t.allocator, shape, 1, 2.0)); // eps as large as the sum
    }
}

TEST(l2_norm, adds_eps_to_the_sum_of_squares) {
    TestContext t;
    const Tensor x = random_tensor(t.allocator, {4, 3, 19}, DType::f64, "x", 1e-3);
    const auto in = to_vector(x), out = to_vector(ops::l2_norm(t.ctx, x, 1e-6));
    for (size_t row = 0; row < 12; ++row) {
        double squares = 0;
        for (size_t i = 0; i < 19; ++i) squares += in[row * 19 + i] * in[row * 19 + i];
        for (size_t i = 0; i < 19; ++i)
            EXPECT_NEAR(out[row * 19 + i], in[row * 19 + i] / std::sqrt(squares + 1e-6), 1e-14);
    }
}

TEST(l2_norm, zero_stays_zero) {
    TestContext t(true);
    const Tensor x = Tensor::zeros(t.allocator, {2, 1, 8}, DType::f32);
    const Tensor y = ops::l2_norm(t.ctx, x);
    expect_identical(y, x, "y");
    Gradients gradients(t.allocator);
    gradients.add(y.ref(), random_tensor(t.allocator, y.shape(), DType::f32, "dy"));
    t.tape.backward(t.ctx, gradients);
    for (const double dx : to_vector(gradients.take(x.ref()))) EXPECT_TRUE(std::isfinite(dx));
}

TEST(l2_norm, strided_f32_and_threads) {
    TestContext t;
    const Tensor wide = random_tensor(t.allocator, {6, 20}, DType::f64, "wide");
    const Tensor part = wide.columns(3, 12);
    expect_identical(ops::l2_norm(t.ctx, part.view({6, 3, 4})),
                     ops::l2_norm(t.ctx, converted(t.allocator, part, DType::f64).view({6, 3, 4})),
                     "strided");
    const OpCase op = norm_case(t.allocator, {300, 2, 64}, 1, 1e-6);
    // one sum of 64 positive terms, a root, a division and, backwards, one more sum
    expect_f32_close_to_f64(op, 32 * std::numeric_limits<float>::epsilon());
    expect_same_bits_for_any_threads(op);
    // dx = r (dy - y <dy, y>), and y is rounded: <dy, y> and its product with y are each off by one unit
    expect_bf16_close_to_f32(op, {.rounded = 3});
}

} // namespace
} // namespace braid::testing

#include "ops/compose/decay.h"

#include <cmath>

#include "tests/support/op_case.h"

namespace braid::testing {
namespace {

OpCase decay_case(Allocator& allocator, int64_t count, int64_t rows, int64_t size, double strength = 0.3) {
    const auto falling = [&](const Shape& shape, const char* name) { // along rows
        const Tensor x = random_tensor(allocator, shape, DType::f64, name, 0.1 * strength, -strength);
        const int64_t width = shape.rank() == 3 ? shape[2] : 1;
        for (int64_t i = width; i < x.numel(); ++i)
            if (i / width % rows > 0) x.data<double>()[i] += x.data<double>()[i - width];
        return x;
    };
    return {"decay",
            {},
            {random_tensor(allocator, {count, rows, size}, DType::f64, "q"),
             random_tensor(allocator, {count, rows, size}, DType::f64, "k"),
             falling({count, rows, size}, "b"), falling({count, rows}, "of heads")},
            [](Context& ctx, const Values& x, const OpCase::Weights&) {
                return Values{ops::decayed_products(ctx, x[0], x[1], x[2]), ops::decay_matrix(ctx, x[3])};
            }};
}

TEST(compose_decay, gradients) {
    TestContext t;
    for (const auto& sizes : {std::array<int64_t, 3>{1, 1, 1}, {2, 4, 3}, {0, 3, 2}})
        check_op_gradients(decay_case(t.allocator, sizes[0], sizes[1], sizes[2]));
}

TEST(compose_decay, matches_sums_written_out) {
    TestContext t, tested(test_device());
    const OpCase op = decay_case(t.allocator, 2, 4, 3);
    const Values results = run_op(op, tested, DType::f64);
    const auto q = to_vector(op.inputs[0]), k = to_vector(op.inputs[1]), b = to_vector(op.inputs[2]),
               h = to_vector(op.inputs[3]), y = to_vector(results[0]), matrix = to_vector(results[1]);
    for (size_t n = 0; n < 2; ++n)
        for (size_t i = 0; i < 4; ++i)
            for (size_t j = 0; j < 4; ++j) {
                double sum = 0;
                for (size_t d = 0; d < 3; ++d)
                    sum += q[(n * 4 + i) * 3 + d] * k[(n * 4 + j) * 3 + d] *
                           std::exp(b[(n * 4 + i) * 3 + d] - b[(n * 4 + j) * 3 + d]);
                EXPECT_NEAR(y[(n * 4 + i) * 4 + j], j <= i ? sum : 0, 1e-14);
                EXPECT_NEAR(matrix[(n * 4 + i) * 4 + j], j <= i ? std::exp(h[n * 4 + i] - h[n * 4 + j]) : 0,
                            1e-14);
            }
}

TEST(compose_decay, the_strongest_decays_neither_overflow_nor_make_nan) {
    TestContext t, tested(test_device());
    for (const Tensor& x : run_op(decay_case(t.allocator, 2, 64, 3, 50), tested, DType::f32))
        for (const double value : to_vector(x)) ASSERT_TRUE(std::isfinite(value));
}

TEST(compose_decay, f32_and_threads) {
    TestContext t;
    const OpCase op = decay_case(t.allocator, 20, 16, 33);
    // Exponents of up to 5 and their sums are off by 5 roundings; the longest sums have 33 terms.
    expect_f32_close_to_f64(op, random_sum_error(33, 16));
    expect_same_bits_for_any_threads(op);
}

TEST(compose_decay, refuses_bf16_and_shapes_that_do_not_fit) {
    TestContext t;
    const Tensor x = random_tensor(t.allocator, {2, 3, 4}, DType::f32, "x");
    EXPECT_THROW(ops::decayed_products(t.ctx, x, x, random_tensor(t.allocator, {2, 3, 5}, DType::f32, "b")),
                 InternalError);
    EXPECT_THROW(ops::decay_matrix(t.ctx, random_tensor(t.allocator, {2, 3}, DType::bf16, "b")),
                 InternalError);
}

} // namespace
} // namespace braid::testing

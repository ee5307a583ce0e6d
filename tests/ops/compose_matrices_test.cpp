#include "ops/compose/matrices.h"

#include "tests/support/op_case.h"

namespace braid::testing {
namespace {

struct Product {
    int64_t count, m, n, k;
};

OpCase product_case(Allocator& allocator, const Product& p, bool transpose_a, bool transpose_b) {
    const Shape a = transpose_a ? Shape{p.count, p.k, p.m} : Shape{p.count, p.m, p.k};
    const Shape b = transpose_b ? Shape{p.count, p.n, p.k} : Shape{p.count, p.k, p.n};
    return {"batched product",
            {},
            {random_tensor(allocator, a, DType::f64, "a"), random_tensor(allocator, b, DType::f64, "b")},
            [=](Context& ctx, const Values& x, const OpCase::Weights&) {
                return Values{ops::batched_matmul(ctx, x[0], x[1], transpose_a, transpose_b)};
            }};
}

/// Systems whose inverses stay small, as L has entries of size 1 / side.
OpCase triangular_case(Allocator& allocator, int64_t count, int64_t side, int64_t width) {
    return {"triangular",
            {},
            {random_tensor(allocator, {count, side, side}, DType::f64, "a", 1 / static_cast<double>(side)),
             random_tensor(allocator, {count, side, width}, DType::f64, "b")},
            [](Context& ctx, const Values& x, const OpCase::Weights&) {
                return Values{ops::lower_triangle(ctx, x[0]), ops::lower_triangle(ctx, x[0], true),
                              ops::lower_triangular_matmul(ctx, x[0], x[1]),
                              ops::solve_unit_lower(ctx, x[0], x[1])};
            }};
}

TEST(compose_matrices, gradients) {
    TestContext t;
    for (const Product& p :
         {Product{1, 1, 1, 1}, Product{3, 2, 4, 5}, Product{0, 2, 3, 4}, Product{2, 3, 2, 0}})
        for (const bool transpose_a : {false, true})
            for (const bool transpose_b : {false, true})
                check_op_gradients(product_case(t.allocator, p, transpose_a, transpose_b));
    for (const auto& sizes : {std::array<int64_t, 3>{1, 1, 1}, {3, 4, 2}, {0, 3, 2}})
        check_op_gradients(triangular_case(t.allocator, sizes[0], sizes[1], sizes[2]));
}

TEST(compose_matrices, products_match_sums_written_out) {
    TestContext t, tested(test_device());
    for (const bool transpose_a : {false, true})
        for (const bool transpose_b : {false, true}) {
            const OpCase op = product_case(t.allocator, {2, 3, 4, 5}, transpose_a, transpose_b);
            const auto a = to_vector(op.inputs[0]), b = to_vector(op.inputs[1]);
            const auto y = to_vector(run_op(op, tested, DType::f64)[0]);
            for (size_t i = 0; i < y.size(); ++i) {
                const size_t batch = i / 12, row = i / 4 % 3, column = i % 4;
                double sum = 0;
                for (size_t k = 0; k < 5; ++k)
                    sum += a[batch * 15 + (transpose_a ? k * 3 + row : row * 5 + k)] *
                           b[batch * 20 + (transpose_b ? column * 5 + k : k * 4 + column)];
                EXPECT_NEAR(y[i], sum, 1e-14); // five terms of size one
            }
        }
}

TEST(compose_matrices, triangles_and_their_systems_match_the_definitions) {
    TestContext t, tested(test_device());
    constexpr size_t kSide = 5, kWidth = 3;
    const OpCase op = triangular_case(t.allocator, 2, kSide, kWidth);
    const Values results = run_op(op, tested, DType::f64);
    const auto a = to_vector(op.inputs[0]), b = to_vector(op.inputs[1]);
    const auto lower = to_vector(results[0]), strict = to_vector(results[1]), product = to_vector(results[2]),
               x = to_vector(results[3]);
    for (size_t batch = 0; batch < 2; ++batch)
        for (size_t i = 0; i < kSide; ++i) {
            for (size_t j = 0; j < kSide; ++j) {
                const size_t at = (batch * kSide + i) * kSide + j;
                EXPECT_EQ(lower[at], j <= i ? a[at] : 0);
                EXPECT_EQ(strict[at], j < i ? a[at] : 0);
            }
            for (size_t c = 0; c < kWidth; ++c) {
                double multiplied = 0, back = 0; // tril(a) b, and (I + L) x, which is b again
                for (size_t k = 0; k <= i; ++k) {
                    const double entry = a[(batch * kSide + i) * kSide + k];
                    multiplied += entry * b[(batch * kSide + k) * kWidth + c];
                    back += (k == i ? 1 : entry) * x[(batch * kSide + k) * kWidth + c];
                }
                EXPECT_NEAR(product[(batch * kSide + i) * kWidth + c], multiplied, 1e-14);
                EXPECT_NEAR(b[(batch * kSide + i) * kWidth + c], back, 1e-14);
            }
        }
}

TEST(compose_matrices, f32_and_threads) {
    TestContext t;
    for (const auto& [transpose_a, transpose_b] : {std::pair(false, false), {true, true}}) {
        const OpCase op = product_case(t.allocator, {40, 30, 33, 35}, transpose_a, transpose_b);
        expect_f32_close_to_f64(op, random_sum_error(35, 0));
        expect_same_bits_for_any_threads(op);
        expect_bf16_close_to_f32(op);
    }
    const OpCase op = triangular_case(t.allocator, 20, 33, 17);
    // A solution is a sum of up to 33 terms, each carrying the errors of those before it times 1 / 33, which
    // add up to no more than e times the first.
    expect_f32_close_to_f64(op, std::numbers::e * random_sum_error(33, 2));
    expect_same_bits_for_any_threads(op);
    // da adds up four rounded terms, db two.
    expect_bf16_close_to_f32(op, {.rounded = 8});
}

TEST(compose_matrices, refuse_shapes_that_do_not_fit) {
    TestContext t;
    const Tensor x = random_tensor(t.allocator, {2, 3, 4}, DType::f32, "x");
    EXPECT_THROW(ops::batched_matmul(t.ctx, x, x), InternalError);
    EXPECT_THROW(ops::lower_triangle(t.ctx, x), InternalError);
    EXPECT_THROW(ops::solve_unit_lower(t.ctx, x, x), InternalError);
}

} // namespace
} // namespace braid::testing

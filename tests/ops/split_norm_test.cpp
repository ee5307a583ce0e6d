#include "ops/basic/split_norm.h"

#include <cmath>

#include "ops/basic/elementwise.h"
#include "ops/basic/split.h"
#include "tests/support/op_case.h"

namespace braid::testing {
namespace {

constexpr double kSplitNormEps = 1e-3; // large enough that a norm without it would show

/// Rows of `width` features, of which this rank holds shape[1]; `squares` are given.
OpCase given_squares(Allocator& allocator, const Shape& shape, int64_t width, bool zero_centered) {
    const Shape rows = {shape[0]};
    Tensor squares = random_tensor(allocator, rows, DType::f64, "squares");
    for (double& s : squares.span<double>()) s = 1 + s * s; // a sum of squares is positive
    return {"rms_norm_given_squares",
            {{{shape[1]}}},
            {random_tensor(allocator, shape, DType::f64, "x"), squares},
            [=](Context& ctx, const Values& x, const OpCase::Weights& w) {
                return Values{
                    ops::rms_norm_given_squares(ctx, x[0], x[1], width, w[0], kSplitNormEps, zero_centered)};
            },
            {1}};
}

OpCase squares_case(Allocator& allocator, const Shape& shape) {
    return {"row_squares",
            {},
            {random_tensor(allocator, shape, DType::f64, "x")},
            [](Context& ctx, const Values& x, const OpCase::Weights&) {
                return Values{ops::row_squares(ctx, x[0])};
            }};
}

/// The whole norm on two parts of a row, as two ranks would share it out: `first` columns here, the rest
/// there.
OpCase two_parts(Allocator& allocator, const Shape& shape, int64_t first, bool zero_centered) {
    const int64_t width = shape[1];
    return {"two parts",
            {{{first}}, {{width - first}}},
            {random_tensor(allocator, shape, DType::f64, "x")},
            [=](Context& ctx, const Values& x, const OpCase::Weights& w) {
                const int64_t sizes[] = {first, width - first};
                const auto parts = ops::split_columns(ctx, x[0], sizes);
                const Tensor squares =
                    ops::add(ctx, ops::row_squares(ctx, parts[0]), ops::row_squares(ctx, parts[1]));
                Values y;
                for (size_t i = 0; i < 2; ++i)
                    y.push_back(ops::rms_norm_given_squares(ctx, parts[i], squares, width, w[i],
                                                            kSplitNormEps, zero_centered));
                return y;
            }};
}

const Shape kSplitNormShapes[] = {{1, 1}, {1, 7}, {5, 3}, {0, 4}, {70, 9}};

TEST(split_norm, gradients) {
    TestContext t;
    for (const Shape& shape : kSplitNormShapes) {
        check_op_gradients(squares_case(t.allocator, shape));
        for (const bool zero_centered : {false, true})
            check_op_gradients(given_squares(t.allocator, shape, 2 * shape[1], zero_centered));
    }
}

TEST(split_norm, gradients_through_parts_of_strided_rows) {
    TestContext t;
    for (const bool zero_centered : {false, true}) {
        check_op_gradients(two_parts(t.allocator, {1, 2}, 1, zero_centered));
        check_op_gradients(two_parts(t.allocator, {6, 7}, 3, zero_centered));
    }
}

// The definition, written out: x / sqrt(mean square of the whole row + eps) times w or 1 + w. Rounding: a
// dozen operations on numbers of size up to ten.
TEST(split_norm, parts_match_the_definition_of_the_whole) {
    TestContext t;
    const size_t rows = 9, width = 7, first = 3;
    for (const bool zero_centered : {false, true}) {
        const OpCase op = two_parts(t.allocator, {rows, width}, first, zero_centered);
        const Values results = run_op(op, t, DType::f64);
        const auto x = to_vector(op.inputs[0]);
        for (size_t part = 0; part < 2; ++part) {
            const size_t begin = part == 0 ? 0 : first, columns = part == 0 ? first : width - first;
            const auto y = to_vector(results[part]);
            const auto w = to_vector(random_tensor(t.allocator, {static_cast<int64_t>(columns)}, DType::f64,
                                                   op.name + " parameter " + std::to_string(part)));
            for (size_t r = 0; r < rows; ++r) {
                double square = 0;
                for (size_t j = 0; j < width; ++j) square += x[r * width + j] * x[r * width + j] / width;
                for (size_t j = 0; j < columns; ++j)
                    EXPECT_NEAR(y[r * columns + j],
                                x[r * width + begin + j] / std::sqrt(square + kSplitNormEps) *
                                    (zero_centered ? 1 + w[j] : w[j]),
                                1e-13);
            }
        }
    }
}

// The longest sums are a weight's gradient over all rows, of products of four factors.
TEST(split_norm, f32_and_threads) {
    TestContext t;
    for (const OpCase& op :
         {given_squares(t.allocator, {600, 67}, 134, true), squares_case(t.allocator, {300, 130}),
          two_parts(t.allocator, {300, 130}, 65, false)}) {
        expect_f32_close_to_f64(op, random_sum_error(op.inputs[0].dim(0), 12));
        expect_same_bits_for_any_threads(op);
        // where dx is the rounded sum of two rounded parts, through y and through the squares
        expect_bf16_close_to_f32(op, {.rounded = 3});
    }
}

TEST(split_norm, refuses_other_sizes) {
    TestContext t;
    OpCase op = given_squares(t.allocator, {2, 5}, 10, false);
    op.parameters = {{{4}}};
    EXPECT_THROW(run_op(op, t, DType::f64), InternalError);
    op = given_squares(t.allocator, {2, 5}, 10, false);
    op.inputs[1] = random_tensor(t.allocator, {3}, DType::f64, "squares");
    EXPECT_THROW(run_op(op, t, DType::f64), InternalError);
}

} // namespace
} // namespace braid::testing

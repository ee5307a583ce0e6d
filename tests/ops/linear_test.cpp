#include "ops/basic/linear.h"

#include <cmath>

#include "ops/basic/split.h"
#include "tests/support/op_case.h"

namespace braid::testing {
namespace {

OpCase linear_case(Allocator& allocator, int64_t tokens, int64_t in, int64_t out) {
    return {"linear",
            {{{out, in}}},
            {random_tensor(allocator, {tokens, in}, DType::f64, "x")},
            [](Context& ctx, const Values& x, const OpCase::Weights& w) {
                return Values{ops::linear(ctx, x[0], w[0])};
            }};
}

TEST(linear, gradients) {
    TestContext t;
    for (const auto& [tokens, in, out] : {std::array<int64_t, 3>{1, 1, 1}, {1, 5, 3}, {7, 3, 5}, {0, 3, 2}})
        check_op_gradients(linear_case(t.allocator, tokens, in, out));
}

TEST(linear, matches_sums_written_out) {
    TestContext t, tested(test_device());
    const OpCase op = linear_case(t.allocator, 5, 7, 3);
    const Values results = run_op(op, tested, DType::f64);
    const auto x = to_vector(op.inputs[0]), y = to_vector(results[0]);
    const auto w = to_vector(random_tensor(t.allocator, {3, 7}, DType::f64, "linear parameter 0"));
    for (size_t i = 0; i < 5; ++i)
        for (size_t j = 0; j < 3; ++j) {
            double sum = 0;
            for (size_t k = 0; k < 7; ++k) sum += x[i * 7 + k] * w[j * 7 + k];
            EXPECT_NEAR(y[i * 3 + j], sum, 1e-13); // 7 terms of size about one
        }
}

TEST(linear, strided_input) {
    TestContext t;
    const Tensor wide = random_tensor(t.allocator, {6, 9}, DType::f64, "wide");
    const OpCase strided = {
        "strided linear", {{{4, 5}}}, {wide}, [](Context& ctx, const Values& x, const OpCase::Weights& w) {
            const int64_t sizes[] = {3, 5, 1};
            return Values{ops::linear(ctx, ops::split_columns(ctx, x[0], sizes)[1], w[0])};
        }};
    check_op_gradients(strided);
}

TEST(linear, f32_and_threads) {
    TestContext t;
    OpCase op = linear_case(t.allocator, 600, 300, 520);
    // sums of up to 600 products of size one: rounding grows like the root of the terms, and the largest
    // element of a result is at least as large as the root of the terms
    expect_f32_close_to_f64(op, 64 * std::numeric_limits<float>::epsilon());
    expect_same_bits_for_any_threads(op);
    expect_bf16_close_to_f32(op);
}

TEST(linear, refuses_another_width) {
    TestContext t;
    OpCase op = linear_case(t.allocator, 2, 3, 4);
    op.inputs = {random_tensor(t.allocator, {2, 5}, DType::f64, "x")};
    EXPECT_THROW(run_op(op, t, DType::f64), InternalError);
}

TEST(split, gradients_with_a_part_unused) {
    TestContext t;
    check_op_gradients({"split",
                        {},
                        {random_tensor(t.allocator, {5, 11}, DType::f64, "x")},
                        [](Context& ctx, const Values& x, const OpCase::Weights&) {
                            const int64_t sizes[] = {2, 4, 0, 5};
                            const auto parts = ops::split_columns(ctx, x[0], sizes);
                            // the second is left out, the fourth is seen as heads
                            return Values{parts[0], parts[3].view({5, 5, 1})};
                        }});
}

TEST(split, parts_are_columns) {
    TestContext t;
    const Tensor x = random_tensor(t.allocator, {3, 4}, DType::f32, "x");
    const int64_t sizes[] = {1, 3};
    const auto parts = ops::split_columns(t.ctx, x, sizes);
    const auto all = to_vector(x), left = to_vector(parts[0]), right = to_vector(parts[1]);
    for (size_t i = 0; i < 3; ++i) {
        EXPECT_EQ(left[i], all[i * 4]);
        for (size_t j = 0; j < 3; ++j) EXPECT_EQ(right[i * 3 + j], all[i * 4 + 1 + j]);
    }
    const int64_t wrong[] = {1, 2};
    EXPECT_THROW(ops::split_columns(t.ctx, x, wrong), InternalError);
}

} // namespace
} // namespace braid::testing

#include "ops/basic/bias.h"

#include "ops/basic/split.h"
#include "ops/moe/group_bias.h"
#include "tests/support/op_case.h"

namespace braid::testing {
namespace {

/// Columns of a wider tensor, so that rows are strided.
OpCase bias_case(Allocator& allocator, int64_t rows, int64_t width) {
    return {"bias",
            {{{width}}},
            {random_tensor(allocator, {rows, width + 3}, DType::f64, "x")},
            [width](Context& ctx, const Values& x, const OpCase::Weights& w) {
                const int64_t parts[] = {3, width};
                return Values{ops::add_bias(ctx, ops::split_columns(ctx, x[0], parts)[1], w[0])};
            }};
}

OpCase group_case(Allocator& allocator, const std::vector<int64_t>& sizes, int64_t width, int64_t first,
                  int64_t added) {
    std::vector<double> offsets = {0};
    for (const int64_t size : sizes) offsets.push_back(offsets.back() + static_cast<double>(size));
    const auto groups = static_cast<int64_t>(sizes.size());
    return {"group_bias",
            {{{groups, added}}},
            {random_tensor(allocator, {static_cast<int64_t>(offsets.back()), width}, DType::f64, "x"),
             from_vector(allocator, {groups + 1}, DType::i64, offsets)},
            [first](Context& ctx, const Values& x, const OpCase::Weights& w) {
                return Values{ops::add_group_bias(ctx, x[0], w[0], x[1], first)};
            }};
}

TEST(bias, gradients) {
    TestContext t;
    for (const auto& [rows, width] : {std::pair<int64_t, int64_t>{1, 1}, {5, 3}, {0, 2}, {70, 2}})
        check_op_gradients(bias_case(t.allocator, rows, width));
    check_op_gradients(group_case(t.allocator, {3, 0, 1, 7}, 4, 0, 4));
    check_op_gradients(group_case(t.allocator, {0, 0}, 3, 1, 2));
    check_op_gradients(group_case(t.allocator, {0, 9, 0}, 7, 2, 3));
}

TEST(bias, is_added_to_rows_and_to_those_of_its_group) {
    TestContext t, tested(test_device());
    const OpCase rows = bias_case(t.allocator, 4, 3);
    const auto x = to_vector(rows.inputs[0]), y = to_vector(run_op(rows, tested, DType::f64)[0]);
    const auto b = to_vector(random_tensor(t.allocator, {3}, DType::f64, "bias parameter 0"));
    for (size_t i = 0; i < 12; ++i) EXPECT_EQ(y[i], x[i / 3 * 6 + 3 + i % 3] + b[i % 3]);

    const std::vector<int64_t> sizes = {0, 2, 0, 0, 3, 1, 0};
    const std::vector<size_t> group_of = {1, 1, 4, 4, 4, 5};
    const OpCase groups = group_case(t.allocator, sizes, 5, 1, 3);
    const auto in = to_vector(groups.inputs[0]), out = to_vector(run_op(groups, tested, DType::f64)[0]);
    const auto vectors = to_vector(random_tensor(t.allocator, {7, 3}, DType::f64, "group_bias parameter 0"));
    for (size_t row = 0; row < 6; ++row)
        for (size_t j = 0; j < 5; ++j)
            EXPECT_EQ(out[row * 5 + j],
                      in[row * 5 + j] + (j >= 1 && j < 4 ? vectors[group_of[row] * 3 + j - 1] : 0));
}

TEST(bias, f32_and_threads) {
    TestContext t;
    const OpCase rows = bias_case(t.allocator, 700, 90),
                 groups = group_case(t.allocator, {300, 0, 5, 90, 1}, 130, 10, 100);
    for (const OpCase& op : {rows, groups}) { // sums of up to 700 numbers, and one rounding
        expect_f32_close_to_f64(op, random_sum_error(700, 1));
        expect_same_bits_for_any_threads(op);
    }
    expect_bf16_close_to_f32(rows); // the gradient of a bias is a sum of the same numbers in f32
    expect_bf16_close_to_f32(groups);
}

TEST(bias, refuses_shapes_that_do_not_fit) {
    TestContext t;
    OpCase rows = bias_case(t.allocator, 4, 3);
    rows.parameters[0].shape = {4};
    EXPECT_THROW(run_op(rows, t, DType::f64), InternalError);
    EXPECT_THROW(run_op(group_case(t.allocator, {1, 2}, 4, 2, 3), t, DType::f64), InternalError);
    OpCase groups = group_case(t.allocator, {1, 2}, 4, 0, 4);
    groups.inputs[1] = from_vector(t.allocator, {4}, DType::i64, {0, 1, 2, 3});
    EXPECT_THROW(run_op(groups, t, DType::f64), InternalError);
}

} // namespace
} // namespace braid::testing

#include "ops/compose/rows.h"

#include "ops/basic/split.h"
#include "tests/support/op_case.h"

namespace braid::testing {
namespace {

// Some rows twice, some never, some places without a row.
const std::vector<int32_t> kRows = {3, -1, 0, 3, 4, -1, 3};
constexpr int64_t kNumRows = 6;

OpCase gather_case(Allocator& allocator, const Shape& row) {
    const auto rows_of = [&](int64_t count) {
        std::vector<int64_t> dims = {count};
        dims.insert(dims.end(), row.dims().begin(), row.dims().end());
        return Shape(dims);
    };
    return {"gather and scatter",
            {},
            {random_tensor(allocator, rows_of(kNumRows), DType::f64, "x"),
             random_tensor(allocator, rows_of(static_cast<int64_t>(kRows.size())), DType::f64, "y")},
            [](Context& ctx, const Values& x, const OpCase::Weights&) {
                const ops::RowIndex index(*ctx.allocator, kRows, kNumRows);
                return Values{ops::gather_rows(ctx, x[0], index), ops::scatter_rows(ctx, x[1], index)};
            }};
}

OpCase columns_case(Allocator& allocator, int64_t tokens) {
    return {"concatenate",
            {},
            {random_tensor(allocator, {tokens, 3}, DType::f64, "a"),
             random_tensor(allocator, {tokens, 1}, DType::f64, "b"),
             random_tensor(allocator, {tokens, 4}, DType::f64, "c")},
            [](Context& ctx, const Values& x, const OpCase::Weights&) {
                const Tensor all = ops::concatenate_columns(ctx, x);
                const int64_t sizes[] = {2, 6};
                // packed(), of columns that are strided
                return Values{all, ops::packed(ctx, ops::split_columns(ctx, all, sizes)[1])};
            }};
}

/// Rows that repeat and rows that change places; x is columns of a wider tensor.
OpCase places_case(Allocator& allocator, int64_t tokens, int64_t heads, int64_t size) {
    return {"repeat and swap",
            {},
            {random_tensor(allocator, {tokens * heads, size + 2}, DType::f64, "x")},
            [=](Context& ctx, const Values& x, const OpCase::Weights&) {
                const int64_t sizes[] = {2, size};
                const Tensor rows = ops::split_columns(ctx, x[0], sizes)[1];
                return Values{ops::repeat_rows(ctx, rows, 3),
                              ops::swap_rows(ctx, ops::packed(ctx, rows).view({tokens, heads, size}))};
            }};
}

TEST(compose_rows, gradients) {
    TestContext t;
    for (const auto& [tokens, heads, size] : {std::array<int64_t, 3>{3, 2, 2}, {1, 1, 1}, {0, 2, 3}})
        check_op_gradients(places_case(t.allocator, tokens, heads, size));
    for (const Shape& row : {Shape{}, Shape{4}, Shape{2, 3}})
        check_op_gradients(gather_case(t.allocator, row));
    for (const int64_t tokens : {0, 1, 5}) check_op_gradients(columns_case(t.allocator, tokens));
}

TEST(compose_rows, move_what_they_say) {
    TestContext t, tested(test_device());
    const OpCase op = gather_case(t.allocator, {2});
    const Values results = run_op(op, tested, DType::f64);
    const auto x = to_vector(op.inputs[0]), y = to_vector(op.inputs[1]);
    std::vector<double> gathered, scattered(kNumRows * 2, 0);
    for (size_t i = 0; i < kRows.size(); ++i)
        for (size_t j = 0; j < 2; ++j) {
            const auto row = static_cast<size_t>(std::max(kRows[i], 0));
            gathered.push_back(kRows[i] < 0 ? 0 : x[row * 2 + j]);
            if (kRows[i] >= 0) scattered[row * 2 + j] += y[i * 2 + j];
        }
    EXPECT_EQ(to_vector(results[0]), gathered);
    EXPECT_EQ(to_vector(results[1]), scattered);

    const OpCase places = places_case(t.allocator, 3, 2, 4);
    const Values placed = run_op(places, tested, DType::f64);
    const auto z = to_vector(places.inputs[0]);
    std::vector<double> repeated, swapped;
    for (size_t row = 0; row < 6 * 3; ++row)
        for (size_t j = 0; j < 4; ++j) repeated.push_back(z[row / 3 * 6 + 2 + j]);
    for (size_t head = 0; head < 2; ++head)
        for (size_t token = 0; token < 3; ++token)
            for (size_t j = 0; j < 4; ++j) swapped.push_back(z[(token * 2 + head) * 6 + 2 + j]);
    EXPECT_EQ(to_vector(placed[0]), repeated);
    EXPECT_EQ(to_vector(placed[1]), swapped);

    const OpCase columns = columns_case(t.allocator, 3);
    const auto joined = to_vector(run_op(columns, tested, DType::f64)[0]);
    std::vector<double> expected;
    for (int64_t row = 0; row < 3; ++row)
        for (const Tensor& part : columns.inputs)
            for (const double value : to_vector(part.rows(row, 1))) expected.push_back(value);
    EXPECT_EQ(joined, expected);
    const Tensor whole = random_tensor(t.allocator, {4, 6}, DType::f64, "x");
    EXPECT_EQ(ops::packed(t.ctx, whole).id(), whole.id());
}

TEST(compose_rows, f32_and_threads) {
    TestContext t;
    const OpCase op = gather_case(t.allocator, {700});
    expect_f32_close_to_f64(op, random_sum_error(3, 0)); // three rows meet
    expect_same_bits_for_any_threads(op);
    expect_bf16_close_to_f32(op);
    const OpCase places = places_case(t.allocator, 30, 5, 70);
    expect_f32_close_to_f64(places, random_sum_error(4, 0));
    expect_same_bits_for_any_threads(places);
    expect_bf16_close_to_f32(places, {.rounded = 2});
    expect_bf16_close_to_f32(columns_case(t.allocator, 50), {.rounded = 2}); // a gradient is added to another
}

TEST(compose_rows, refuse_what_does_not_fit) {
    TestContext t;
    EXPECT_THROW(ops::RowIndex(t.allocator, std::vector<int32_t>{0, 6}, 6), InternalError);
    EXPECT_THROW(ops::RowIndex(t.allocator, std::vector<int32_t>{-2}, 6), InternalError);
    const ops::RowIndex index(t.allocator, kRows, kNumRows);
    const Tensor x = random_tensor(t.allocator, {5, 2}, DType::f32, "x");
    EXPECT_THROW(ops::gather_rows(t.ctx, x, index), InternalError);
    EXPECT_THROW(ops::scatter_rows(t.ctx, x, index), InternalError);
}

} // namespace
} // namespace braid::testing

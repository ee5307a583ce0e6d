#include "ops/moe/grouped_linear.h"

#include "ops/basic/split.h"
#include "tests/support/op_case.h"

namespace braid::testing {
namespace {

OpCase grouped_case(Allocator& allocator, const std::vector<int64_t>& sizes, int64_t in, int64_t out) {
    std::vector<double> offsets = {0};
    for (const int64_t size : sizes) offsets.push_back(offsets.back() + static_cast<double>(size));
    const auto groups = static_cast<int64_t>(sizes.size());
    return {"grouped_linear",
            {{{groups, out, in}}},
            {random_tensor(allocator, {static_cast<int64_t>(offsets.back()), in}, DType::f64, "x"),
             from_vector(allocator, {groups + 1}, DType::i64, offsets)},
            [](Context& ctx, const Values& x, const OpCase::Weights& w) {
                return Values{ops::grouped_linear(ctx, x[0], w[0], x[1])};
            }};
}

TEST(grouped_linear, gradients) {
    TestContext t;
    check_op_gradients(grouped_case(t.allocator, {3, 0, 1, 7}, 5, 4));
    check_op_gradients(grouped_case(t.allocator, {0, 0}, 3, 2));
    check_op_gradients(grouped_case(t.allocator, {1}, 1, 1));
    check_op_gradients(grouped_case(t.allocator, {0, 20, 0}, 3, 7));
}

TEST(grouped_linear, matches_sums_written_out) {
    TestContext t, tested(test_device());
    // few rows and many, sizes that fill panels of 64 by 128 and such that do not
    for (const auto& [first, last, in, out] :
         {std::array<size_t, 4>{4, 3, 5, 2}, {40, 7, 133, 70}, {30, 25, 128, 64}, {24, 1, 1, 65}}) {
        const OpCase op =
            grouped_case(t.allocator, {static_cast<int64_t>(first), 0, static_cast<int64_t>(last)},
                         static_cast<int64_t>(in), static_cast<int64_t>(out));
        const Values results = run_op(op, tested, DType::f64);
        const auto x = to_vector(op.inputs[0]), y = to_vector(results[0]);
        const Shape shape = {3, static_cast<int64_t>(out), static_cast<int64_t>(in)};
        const auto w = to_vector(random_tensor(t.allocator, shape, DType::f64, "grouped_linear parameter 0"));
        for (size_t r = 0; r < first + last; ++r)
            for (size_t o = 0; o < out; ++o) {
                const size_t group = r < first ? 0 : 2;
                double sum = 0;
                for (size_t i = 0; i < in; ++i) sum += x[r * in + i] * w[(group * out + o) * in + i];
                ASSERT_NEAR(y[r * out + o], sum, 1e-12)
                    << r << ", " << o; // up to 133 terms of size about one
            }
    }
}

TEST(grouped_linear, strided_input) {
    TestContext t;
    OpCase op = grouped_case(t.allocator, {2, 3}, 4, 3);
    op.inputs[0] = random_tensor(t.allocator, {5, 9}, DType::f64, "wide");
    op.forward = [all = op.forward](Context& ctx, const Values& x, const OpCase::Weights& w) {
        const int64_t sizes[] = {1, 4, 4};
        return all(ctx, {ops::split_columns(ctx, x[0], sizes)[2], x[1]}, w);
    };
    check_op_gradients(op);
}

TEST(grouped_linear, f32_and_threads) {
    TestContext t;
    const OpCase op = grouped_case(t.allocator, {300, 0, 5, 90, 1}, 130, 600); // cut in rows and in columns
    // sums of up to 600 products, whose rounding grows like the root of the number of terms, as the sums do
    expect_f32_close_to_f64(op, 64 * std::numeric_limits<float>::epsilon());
    expect_same_bits_for_any_threads(op);
    expect_bf16_close_to_f32(op);
}

// Rows, columns and depths that fill tiles of a GPU's tensor cores and that do not, with strides that their
// copies take and that they do not.
TEST(grouped_linear, bf16_in_tiles_of_tensor_cores) {
    for (const auto& [first, last, in, out] :
         {std::array<int64_t, 4>{150, 70, 136, 200}, {5, 128, 72, 40}, {1, 64, 67, 33}, {40, 1, 8, 260}}) {
        TestContext t;
        expect_bf16_close_to_f32(grouped_case(t.allocator, {first, 0, last}, in, out));
    }
}

TEST(grouped_linear, refuses_offsets_that_do_not_fit) { // on the CPU; the host does not see a GPU's
    TestContext t;
    OpCase op = grouped_case(t.allocator, {2, 3}, 4, 3);
    for (const std::vector<double>& bad : {std::vector<double>{0, 2, 4}, {1, 2, 5}, {0, 6, 5}}) {
        op.inputs[1] = from_vector(t.allocator, {3}, DType::i64, bad);
        EXPECT_THROW(run_op(op, t, DType::f64), InternalError);
    }
}

} // namespace
} // namespace braid::testing

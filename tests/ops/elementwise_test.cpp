#include "ops/basic/elementwise.h"

#include "ops/basic/elementwise_kernels.h"

#include "tests/support/op_case.h"

namespace braid::testing {
namespace {

TEST(elementwise, add_and_scale_gradients) {
    TestContext t;
    const Values inputs = {random_tensor(t.allocator, {5, 3}, DType::f64, "a"),
                           random_tensor(t.allocator, {5, 3}, DType::f64, "b")};
    check_gradients(
        "add", t.ctx,
        [](Context& ctx, const Values& in) {
            // a is used twice: its gradient is a sum whose first part is shared with b's
            return Values{ops::add(ctx, ops::scale(ctx, ops::add(ctx, in[0], in[1]), -2.5), in[0])};
        },
        inputs);
}

TEST(elementwise, add_reads_strided_rows) {
    TestContext t;
    const Tensor wide = random_tensor(t.allocator, {4, 7}, DType::f32, "wide");
    const Tensor y = ops::add(t.ctx, wide.columns(1, 3), wide.columns(4, 3));
    const auto w = to_vector(wide), sum = to_vector(y);
    for (size_t i = 0; i < 4; ++i)
        for (size_t j = 0; j < 3; ++j)
            EXPECT_EQ(sum[i * 3 + j], static_cast<double>(static_cast<float>(w[i * 7 + 1 + j]) +
                                                          static_cast<float>(w[i * 7 + 4 + j])));
}

TEST(elementwise, bf16) {
    TestContext t;
    const Values inputs = {random_tensor(t.allocator, {70, 300}, DType::f64, "a"),
                           random_tensor(t.allocator, {70, 300}, DType::f64, "b")};
    expect_bf16_close_to_f32({"add",
                              {},
                              inputs,
                              [](Context& ctx, const Values& x, const OpCase::Weights&) {
                                  return Values{ops::add(ctx, x[0], x[1]), ops::scale(ctx, x[0], 0.3)};
                              }},
                             {.rounded = 3}); // da is the rounded sum of dy and a rounded product
    expect_bf16_close_to_f32(
        {"cast", {}, inputs, [](Context& ctx, const Values& x, const OpCase::Weights&) {
             return Values{ops::cast(ctx, x[0], DType::f32), ops::cast(ctx, x[1], DType::bf16)};
         }});
    const Tensor sum = random_tensor(t.allocator, {3}, DType::bf16, "a");
    EXPECT_EQ(ops::cast(t.ctx, sum, DType::bf16).id(), sum.id());
    EXPECT_THROW(ops::add(t.ctx, sum, ops::cast(t.ctx, sum, DType::f32)), InternalError);
}

TEST(elementwise, gradients_in_every_dtype) {
    TestContext t;
    for (const Shape& shape : {Shape{1}, Shape{33, 9}}) {
        // x[0] is used twice, so that its gradients are added
        const OpCase op{
            "add and scale",
            {},
            {random_tensor(t.allocator, shape, DType::f64, "a"),
             random_tensor(t.allocator, shape, DType::f64, "b")},
            [](Context& ctx, const Values& x, const OpCase::Weights&) {
                return Values{ops::add(ctx, ops::scale(ctx, x[0], -2.5), x[1]), ops::scale(ctx, x[0], 0.5)};
            }};
        check_op_gradients(op);
        expect_f32_close_to_f64(op, 4 * std::numeric_limits<float>::epsilon()); // of three roundings
        expect_bf16_close_to_f32(op, {.rounded = 3});                           // as above
    }
}

/// The numbers as a tensor of this dtype holds them.
std::vector<double> rounded_to(Allocator& allocator, const std::vector<double>& values, DType dtype) {
    return to_vector(from_vector(allocator, {static_cast<int64_t>(values.size())}, dtype, values));
}

TEST(elementwise, casts_and_fills_are_exact) {
    TestContext t, tested(test_device());
    const DType dtypes[] = {DType::f32, DType::f64, DType::bf16};
    for (const DType from : dtypes)
        for (const DType to : dtypes) {
            const Tensor x = random_tensor(t.allocator, {7, 45}, from, "x");
            const Tensor y = Tensor::empty(*tested.ctx.allocator, x.shape(), to);
            ops::device::cast(to_device(*tested.ctx.allocator, x), y);
            EXPECT_EQ(to_vector(to_device(t.allocator, y)), rounded_to(t.allocator, to_vector(x), to))
                << name_of(from) << " to " << name_of(to);
        }
    for (const DType dtype : dtypes) {
        const Tensor x = Tensor::empty(*tested.ctx.allocator, {300}, dtype);
        x.fill(0.3);
        EXPECT_EQ(to_vector(to_device(t.allocator, x)),
                  rounded_to(t.allocator, std::vector<double>(300, 0.3), dtype));
    }
}

TEST(elementwise, cast_rounds_to_nearest_even) {
    TestContext t;
    const double ulp = 0x1p-7; // above 1
    const Tensor x =
        from_vector(t.allocator, {5}, DType::f32,
                    {1 + 0.49 * ulp, 1 + 0.5 * ulp, 1 + 1.5 * ulp, 1 + 0.51 * ulp, -1 - 1.5 * ulp});
    EXPECT_EQ(to_vector(ops::cast(t.ctx, x, DType::bf16)),
              (std::vector<double>{1, 1, 1 + 2 * ulp, 1 + ulp, -1 - 2 * ulp}));
}

} // namespace
} // namespace braid::testing

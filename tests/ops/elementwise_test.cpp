#include "ops/elementwise.h"

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

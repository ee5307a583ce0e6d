#include "ops/elementwise.h"

#include "tests/support/gradient_check.h"

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

} // namespace
} // namespace braid::testing

#include "ops/basic/reduce.h"

#include <cmath>

#include "tests/support/op_case.h"

namespace braid::testing {
namespace {

void check(const Tensor& x, TestContext& tested, const std::string& what) {
    double squares = 0, largest = 0;
    for (const double value : to_vector(x)) {
        squares += value * value;
        largest = std::max(largest, std::abs(value));
    }
    const Tensor moved = to_device(*tested.ctx.allocator, x);
    // Sums of n squares, none of them negative, in two orders: each is exact to n units of 1.1e-16.
    const double n = static_cast<double>(x.numel());
    EXPECT_NEAR(ops::sum_of_squares(moved), squares, 2 * n * 1.2e-16 * squares) << what;
    EXPECT_EQ(ops::max_abs(moved), largest) << what;
}

// One element, and one more than two of the blocks of 2^14 that a GPU's blocks take.
TEST(reduce, matches_the_definition_in_every_dtype) {
    TestContext t, tested(test_device());
    for (const DType dtype : {DType::f32, DType::f64, DType::bf16})
        for (const int64_t count : {1, 300, (2 << 14) + 1})
            check(random_tensor(t.allocator, {count}, dtype, "x"), tested,
                  fmt::format("{} of {}", count, name_of(dtype)));
}

TEST(reduce, reads_strided_rows) {
    TestContext t, tested(test_device());
    for (const DType dtype : {DType::f32, DType::f64, DType::bf16}) {
        const Tensor wide = random_tensor(t.allocator, {40, 11}, dtype, "wide");
        const Tensor part = to_device(*tested.ctx.allocator, wide).columns(3, 5);
        const Tensor packed = converted(t.allocator, wide.columns(3, 5), dtype);
        EXPECT_EQ(ops::max_abs(part), ops::max_abs(packed)) << name_of(dtype);
        EXPECT_NEAR(ops::sum_of_squares(part), ops::sum_of_squares(packed),
                    400 * 1.2e-16 * ops::sum_of_squares(packed)); // 200 squares in two orders
    }
}

TEST(reduce, not_a_number_shows) {
    TestContext t, tested(test_device());
    for (const DType dtype : {DType::f32, DType::f64, DType::bf16}) {
        std::vector<double> values(700, 1);
        values[613] = std::nan("");
        const Tensor x = to_device(*tested.ctx.allocator, from_vector(t.allocator, {700}, dtype, values));
        EXPECT_TRUE(std::isnan(ops::max_abs(x))) << name_of(dtype);
        EXPECT_TRUE(std::isnan(ops::sum_of_squares(x))) << name_of(dtype);
    }
}

} // namespace
} // namespace braid::testing

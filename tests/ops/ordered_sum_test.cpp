#include "ops/basic/ordered_sum.h"

#include "tests/support/op_case.h"

namespace braid::testing {
namespace {

/// The sum by the definition: one after the other in the type of sums, rounded once.
template <typename T>
std::vector<double> plain_sum(const Tensor& terms) {
    const int64_t count = terms.dim(1);
    std::vector<double> sums;
    for (int64_t i = 0; i < count; ++i) {
        Accumulation<T> total = static_cast<Accumulation<T>>(terms.data<T>()[i]);
        for (int64_t r = 1; r < terms.dim(0); ++r)
            total += static_cast<Accumulation<T>>(terms.data<T>()[r * count + i]);
        sums.push_back(static_cast<double>(static_cast<Accumulation<T>>(static_cast<T>(total))));
    }
    return sums;
}

TEST(ordered_sum, has_the_bits_of_the_definition) {
    TestContext t, tested(test_device());
    for (const DType dtype : {DType::f32, DType::f64, DType::bf16})
        for (const auto& [terms, count] : {std::pair<int64_t, int64_t>{1, 5}, {2, 1}, {5, 300}}) {
            const Tensor x = random_tensor(t.allocator, {terms, count}, dtype, "terms");
            const Tensor moved = to_device(*tested.ctx.allocator, converted(t.allocator, x, dtype));
            std::vector<double> expected;
            dispatch_storage(dtype, [&]<typename T>() { expected = plain_sum<T>(x); });
            const Tensor sum = Tensor::empty(*tested.ctx.allocator, {count}, dtype);
            ops::ordered_sum(moved, sum);
            EXPECT_EQ(to_vector(to_device(t.allocator, sum)), expected) << name_of(dtype);
            const Tensor row = moved.rows(terms - 1, 1).view({count});
            ops::ordered_sum(moved, row);
            EXPECT_EQ(to_vector(to_device(t.allocator, row)), expected) << name_of(dtype) << ", into a row";
        }
}

TEST(ordered_sum, of_integers) {
    TestContext t, tested(test_device());
    const Tensor x = from_vector(t.allocator, {3, 4}, DType::i64, {1, 2, 3, -4, 0, 5, 1e15, 6, 7, 0, 1, -2});
    const Tensor sum = Tensor::empty(*tested.ctx.allocator, {4}, DType::i64);
    ops::ordered_sum(to_device(*tested.ctx.allocator, x), sum);
    EXPECT_EQ(to_vector(to_device(t.allocator, sum)), (std::vector<double>{8, 7, 1e15 + 4, 0}));
}

} // namespace
} // namespace braid::testing

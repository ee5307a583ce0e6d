#include "ops/permute.h"

#include <algorithm>
#include <numeric>

#include "tests/support/op_case.h"

namespace braid::testing {
namespace {

/// Choices of k different experts per token; the last expert gets none.
Tensor choices(Allocator& allocator, int64_t tokens, int64_t k, int64_t experts) {
    std::vector<double> values;
    for (int64_t t = 0; t < tokens; ++t)
        for (int64_t j = 0; j < k; ++j)
            values.push_back(static_cast<double>((t * t + j) % std::max<int64_t>(experts - 1, 1)));
    return from_vector(allocator, {tokens, k}, DType::i32, values);
}

OpCase permute_case(Allocator& allocator, int64_t tokens, int64_t k, int64_t experts, int64_t width) {
    return {
        "permute",
        {},
        {random_tensor(allocator, {tokens, width}, DType::f64, "h"), choices(allocator, tokens, k, experts)},
        [=](Context& ctx, const Values& x, const OpCase::Weights&) {
            return Values{ops::permute(ctx, x[0], ops::make_expert_plan(ctx, x[1], experts))};
        }};
}

OpCase combine_case(Allocator& allocator, int64_t tokens, int64_t k, int64_t experts, int64_t width) {
    return {
        "combine",
        {},
        {random_tensor(allocator, {tokens * k, width}, DType::f64, "rows"),
         random_tensor(allocator, {tokens, k}, DType::f64, "weight"), choices(allocator, tokens, k, experts)},
        [=](Context& ctx, const Values& x, const OpCase::Weights&) {
            return Values{ops::combine(ctx, x[0], x[1], ops::make_expert_plan(ctx, x[2], experts))};
        },
        {1}};
}

TEST(permute, gradients) {
    TestContext t;
    for (const auto& [tokens, k, experts, width] :
         {std::array<int64_t, 4>{9, 3, 5, 4}, {1, 1, 1, 1}, {6, 1, 4, 3}, {5, 2, 9, 1}, {0, 2, 3, 4}}) {
        check_op_gradients(permute_case(t.allocator, tokens, k, experts, width));
        check_op_gradients(combine_case(t.allocator, tokens, k, experts, width));
    }
}

TEST(permute, plan_is_the_stable_sort_by_expert) {
    TestContext t;
    const Tensor expert = choices(t.allocator, 20, 3, 7);
    const auto plan = ops::make_expert_plan(t.ctx, expert, 7);
    const auto choice = to_vector(expert), order = to_vector(plan.order), row = to_vector(plan.row_of_slot);
    const auto offsets = to_vector(plan.offsets);
    std::vector<double> expected(choice.size());
    std::iota(expected.begin(), expected.end(), 0);
    std::stable_sort(expected.begin(), expected.end(), [&](double a, double b) {
        return choice[static_cast<size_t>(a)] < choice[static_cast<size_t>(b)];
    });
    EXPECT_EQ(order, expected);
    for (size_t r = 0; r < order.size(); ++r)
        EXPECT_EQ(row[static_cast<size_t>(order[r])], static_cast<double>(r));
    ASSERT_EQ(offsets.size(), 8u);
    for (size_t e = 0; e <= 7; ++e)
        EXPECT_EQ(offsets[e], static_cast<double>(std::count_if(choice.begin(), choice.end(), [&](double c) {
                      return c < static_cast<double>(e);
                  })));
}

TEST(permute, combine_undoes_permute) {
    TestContext t;
    const Tensor wide = random_tensor(t.allocator, {10, 8}, DType::f64, "wide"), h = wide.columns(2, 5);
    const auto plan = ops::make_expert_plan(t.ctx, choices(t.allocator, 10, 2, 4), 4);
    const Tensor weight = from_vector(t.allocator, {10, 2}, DType::f64, std::vector<double>(20, 0.5));
    // halves of one number add up to it exactly
    EXPECT_EQ(to_vector(ops::combine(t.ctx, ops::permute(t.ctx, h, plan), weight, plan)), to_vector(h));
}

TEST(permute, f32_and_threads) {
    TestContext t;
    for (const OpCase& op :
         {permute_case(t.allocator, 300, 3, 11, 70), combine_case(t.allocator, 300, 3, 11, 70)}) {
        // sums of 3 terms, and of 70 in the gradient of a weight
        expect_f32_close_to_f64(op, 70 * std::numeric_limits<float>::epsilon());
        expect_same_bits_for_any_threads(op);
        expect_bf16_close_to_f32(op);
    }
}

TEST(permute, slots_without_a_choice_have_no_row) {
    TestContext t(true);
    const Tensor expert = from_vector(t.allocator, {3, 2}, DType::i32, {1, -1, -1, -1, 0, 1});
    const ops::ExpertPlan plan = ops::make_expert_plan(t.ctx, expert, 2);
    EXPECT_EQ(to_vector(plan.order), (std::vector<double>{4, 0, 5}));
    EXPECT_EQ(to_vector(plan.row_of_slot), (std::vector<double>{1, -1, -1, -1, 0, 2}));
    EXPECT_EQ(to_vector(plan.offsets), (std::vector<double>{0, 1, 3}));
    const Tensor h = from_vector(t.allocator, {3, 1}, DType::f64, {10, 20, 30});
    const Tensor rows = ops::permute(t.ctx, h, plan);
    EXPECT_EQ(to_vector(rows), (std::vector<double>{30, 10, 30}));
    const Tensor weight = from_vector(t.allocator, {3, 2}, DType::f64, {2, 9, 9, 9, 3, 4});
    const Tensor y = ops::combine(t.ctx, rows, weight, plan), sums = ops::combine(t.ctx, rows, {}, plan);
    EXPECT_EQ(to_vector(y), (std::vector<double>{20, 0, 210}));
    EXPECT_EQ(to_vector(sums), (std::vector<double>{10, 0, 60}));
    Gradients gradients(t.allocator);
    gradients.add(y.ref(), from_vector(t.allocator, {3, 1}, DType::f64, {1, 5, 7}));
    gradients.add(sums.ref(), from_vector(t.allocator, {3, 1}, DType::f64, {100, 500, 700}));
    t.tape.backward(t.ctx, gradients);
    EXPECT_EQ(to_vector(gradients.take(h.ref())), (std::vector<double>{102, 0, 1449}));
    EXPECT_EQ(to_vector(gradients.take(weight.ref())), (std::vector<double>{10, 0, 0, 0, 210, 210}));
}

TEST(permute, refuses_experts_that_do_not_exist) {
    TestContext t;
    for (const double bad : {3.0, -2.0})
        EXPECT_THROW(ops::make_expert_plan(t.ctx, from_vector(t.allocator, {1, 2}, DType::i32, {0, bad}), 3),
                     InternalError);
}

} // namespace
} // namespace braid::testing

#include "ops/moe/permute.h"

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
            const auto plan = ops::make_expert_plan(ctx, x[1], experts, ops::Choices::all);
            return Values{ops::permute(ctx, x[0], plan)};
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
    for (const auto which : {ops::Choices::some, ops::Choices::all}) {
        TestContext t(test_device());
        const Tensor expert = choices(t.allocator, 20, 3, 7);
        const auto plan = ops::make_expert_plan(t.ctx, on_device(t, expert), 7, which);
        const auto choice = to_vector(expert), order = values_of(t, plan.order),
                   row = values_of(t, plan.row_of_slot), offsets = values_of(t, plan.offsets);
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
            EXPECT_EQ(offsets[e],
                      static_cast<double>(std::count_if(choice.begin(), choice.end(), [&](double c) {
                          return c < static_cast<double>(e);
                      })));
    }
}

TEST(permute, combine_undoes_permute) {
    TestContext t(test_device());
    const Tensor wide = random_tensor(t.allocator, {10, 12}, DType::f64, "wide");
    const auto plan = ops::make_expert_plan(t.ctx, on_device(t, choices(t.allocator, 10, 2, 4)), 4);
    const Tensor weight =
        on_device(t, from_vector(t.allocator, {10, 2}, DType::f64, std::vector<double>(20, 0.5)));
    for (const auto& [first, count] : {std::array<int64_t, 2>{2, 5}, {2, 8}, {3, 8}}) {
        const Tensor h = on_device(t, wide).columns(first, count);
        // halves of one number add up to it exactly
        EXPECT_EQ(values_of(t, ops::combine(t.ctx, ops::permute(t.ctx, h, plan), weight, plan)),
                  to_vector(wide.columns(first, count)));
    }
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

// Rows whose elements a GPU moves 16 bytes at a time.
TEST(permute, rows_of_full_packs) {
    TestContext t;
    for (const auto& [tokens, width] : {std::pair<int64_t, int64_t>{1, 8}, {21, 72}})
        for (const OpCase& op : {permute_case(t.allocator, tokens, 3, 5, width),
                                 combine_case(t.allocator, tokens, 3, 5, width)}) {
            check_op_gradients(op);
            expect_f32_close_to_f64(op, 72 * std::numeric_limits<float>::epsilon()); // as above
            expect_bf16_close_to_f32(op);
        }
}

TEST(permute, slots_without_a_choice_have_no_row) {
    TestContext t(test_device());
    t.ctx.tape = &t.tape;
    const auto numbers = [&](const Shape& shape, const std::vector<double>& values) {
        return on_device(t, from_vector(t.allocator, shape, DType::f64, values));
    };
    const Tensor expert = on_device(t, from_vector(t.allocator, {3, 2}, DType::i32, {1, -1, -1, -1, 0, 1}));
    const ops::ExpertPlan plan = ops::make_expert_plan(t.ctx, expert, 2);
    EXPECT_EQ(values_of(t, plan.order), (std::vector<double>{4, 0, 5}));
    EXPECT_EQ(values_of(t, plan.row_of_slot), (std::vector<double>{1, -1, -1, -1, 0, 2}));
    EXPECT_EQ(values_of(t, plan.offsets), (std::vector<double>{0, 1, 3}));
    const Tensor h = numbers({3, 1}, {10, 20, 30});
    const Tensor rows = ops::permute(t.ctx, h, plan);
    EXPECT_EQ(values_of(t, rows), (std::vector<double>{30, 10, 30}));
    const Tensor weight = numbers({3, 2}, {2, 9, 9, 9, 3, 4});
    const Tensor y = ops::combine(t.ctx, rows, weight, plan), sums = ops::combine(t.ctx, rows, {}, plan);
    EXPECT_EQ(values_of(t, y), (std::vector<double>{20, 0, 210}));
    EXPECT_EQ(values_of(t, sums), (std::vector<double>{10, 0, 60}));
    Gradients gradients(*t.ctx.allocator);
    gradients.add(y.ref(), numbers({3, 1}, {1, 5, 7}));
    gradients.add(sums.ref(), numbers({3, 1}, {100, 500, 700}));
    t.tape.backward(t.ctx, gradients);
    EXPECT_EQ(values_of(t, gradients.take(h.ref())), (std::vector<double>{102, 0, 1449}));
    EXPECT_EQ(values_of(t, gradients.take(weight.ref())), (std::vector<double>{10, 0, 0, 0, 210, 210}));
}

TEST(permute, refuses_experts_that_do_not_exist) {
    TestContext t(test_device());
    for (const double bad : {3.0, -2.0}) {
        const Tensor expert = on_device(t, from_vector(t.allocator, {1, 2}, DType::i32, {0, bad}));
        EXPECT_THROW(ops::make_expert_plan(t.ctx, expert, 3), InternalError);
    }
    // Only the CPU looks at choices of which all are said to be experts.
    TestContext cpu;
    for (const double bad : {3.0, -1.0})
        EXPECT_THROW(ops::make_expert_plan(cpu.ctx, from_vector(cpu.allocator, {1, 2}, DType::i32, {0, bad}),
                                           3, ops::Choices::all),
                     InternalError);
}

} // namespace
} // namespace braid::testing

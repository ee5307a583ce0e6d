// Operations that carry state from call to call give what one call over the whole documents gives, and so do
// their gradients, which reach through the states: what chunked prefill, context parallelism and truncated
// backpropagation stand on.

#include "ops/attention/attention.h"
#include "ops/basic/elementwise.h"
#include "ops/compose/prefix.h"
#include "ops/recurrence/causal_conv.h"
#include "ops/recurrence/linear_recurrence.h"
#include "tests/support/op_case.h"

namespace braid::testing {
namespace {

// Documents that both calls have a part of; of one, the first call has nothing, of another all but one token.
const std::vector<int32_t> kFirst = {5, 0, 20}, kSecond = {4, 3, 1};

DocumentsPtr whole() {
    std::vector<int32_t> lengths;
    for (size_t d = 0; d < kFirst.size(); ++d) lengths.push_back(kFirst[d] + kSecond[d]);
    return documents_of(lengths);
}

/// The tokens of whole() that belong to the first or the second call, and the other way back.
ops::RowIndex rows_of_call(Allocator& allocator, bool second) {
    std::vector<int32_t> rows;
    const DocumentsPtr all = whole();
    for (size_t d = 0; d < kFirst.size(); ++d) {
        const int32_t border = all->offsets[d] + kFirst[d];
        for (int32_t row = second ? border : all->offsets[d]; row < (second ? all->offsets[d + 1] : border);
             ++row)
            rows.push_back(row);
    }
    return {allocator, rows, all->num_tokens()};
}

using Parts = std::pair<Values, Values>;

/// The inputs [T, ...] of both calls.
Parts parts_of(Context& ctx, const Values& x, size_t count) {
    const ops::RowIndex first = rows_of_call(*ctx.allocator, false),
                        second = rows_of_call(*ctx.allocator, true);
    Parts parts;
    for (size_t i = 0; i < count; ++i) {
        parts.first.push_back(ops::gather_rows(ctx, x[i], first));
        parts.second.push_back(ops::gather_rows(ctx, x[i], second));
    }
    return parts;
}

/// The results of both calls in the order of whole().
Tensor together(Context& ctx, const Tensor& first, const Tensor& second) {
    return ops::add(ctx, ops::scatter_rows(ctx, first, rows_of_call(*ctx.allocator, false)),
                    ops::scatter_rows(ctx, second, rows_of_call(*ctx.allocator, true)));
}

/// Outputs and all gradients of both cases are equal.
void expect_same(const OpCase& in_one,
                 const std::function<Values(Context&, const Values&, const OpCase::Weights&)>& in_two) {
    TestContext tested(test_device());
    OpCase split = in_one;
    split.forward = in_two;
    const Values expected = run_op(in_one, tested, DType::f64), found = run_op(split, tested, DType::f64);
    ASSERT_EQ(expected.size(), found.size());
    for (size_t i = 0; i < found.size(); ++i) // some dozens of operations in another order
        expect_close(found[i], expected[i], 1e-12, in_one.name + " result " + std::to_string(i));
}

TEST(continued, convolution) {
    TestContext t;
    const int64_t tokens = whole()->num_tokens();
    const OpCase one{"convolution",
                     {{{3, 4}}},
                     {random_tensor(t.allocator, {tokens, 3}, DType::f64, "x")},
                     [](Context& ctx, const Values& x, const OpCase::Weights& w) {
                         return Values{ops::causal_conv(ctx, x[0], w[0], whole(), true)};
                     }};
    expect_same(one, [](Context& ctx, const Values& x, const OpCase::Weights& w) {
        const Parts parts = parts_of(ctx, x, 1);
        const Tensor start = Tensor::zeros(*ctx.allocator, {3 * 3, 3}, x[0].dtype());
        const auto first =
            ops::causal_conv_continued(ctx, parts.first[0], w[0], documents_of(kFirst), start, true);
        const auto second =
            ops::causal_conv_continued(ctx, parts.second[0], w[0], documents_of(kSecond), first.last, true);
        return Values{together(ctx, first.y, second.y)};
    });
}

TEST(continued, attention) {
    TestContext t;
    const int64_t tokens = whole()->num_tokens();
    for (const int64_t window : {0, 6}) {
        const ops::AttentionOptions options{.scale = 0.5, .window = window};
        const OpCase one{"attention",
                         {},
                         {random_tensor(t.allocator, {tokens, 4, 3}, DType::f64, "q"),
                          random_tensor(t.allocator, {tokens, 2, 3}, DType::f64, "k"),
                          random_tensor(t.allocator, {tokens, 2, 5}, DType::f64, "v")},
                         [options](Context& ctx, const Values& x, const OpCase::Weights&) {
                             return Values{ops::attention(ctx, x[0], x[1], x[2], whole(), options)};
                         }};
        expect_same(one, [options](Context& ctx, const Values& x, const OpCase::Weights&) {
            const auto [a, b] = parts_of(ctx, x, 3);
            const ops::AttentionState nothing{Tensor::empty(*ctx.allocator, {0, 2, 3}, x[1].dtype()),
                                              Tensor::empty(*ctx.allocator, {0, 2, 5}, x[2].dtype()),
                                              {0, 0, 0}};
            const auto first =
                ops::attention_continued(ctx, a[0], a[1], a[2], documents_of(kFirst), nothing, options);
            EXPECT_EQ(first.state.length, (std::vector<int64_t>{5, 0, 20}));
            const auto second =
                ops::attention_continued(ctx, b[0], b[1], b[2], documents_of(kSecond), first.state, options);
            EXPECT_EQ(second.state.length, (std::vector<int64_t>{9, 3, 21}));
            return Values{together(ctx, first.o, second.o)};
        });
    }
}

TEST(continued, recurrence) {
    TestContext t;
    const int64_t tokens = whole()->num_tokens();
    const auto negative = [&](const Shape& shape) {
        const Tensor x = random_tensor(t.allocator, shape, DType::f64, "g");
        for (double& value : x.span<double>()) value = -std::abs(value);
        return x;
    };
    const OpCase one{
        "recurrence",
        {},
        {random_tensor(t.allocator, {tokens, 2, 3}, DType::f64, "q"),
         random_tensor(t.allocator, {tokens, 2, 3}, DType::f64, "k", 0.5),
         random_tensor(t.allocator, {tokens, 2, 4}, DType::f64, "v"), negative({tokens, 2, 3}),
         random_tensor(t.allocator, {tokens, 2}, DType::f64, "beta", 0.1, 0.5)},
        [](Context& ctx, const Values& x, const OpCase::Weights&) {
            const auto all = ops::linear_recurrence(ctx, {x[0], x[1], x[2], x[3], x[4], 0.7}, whole());
            return Values{all.o, all.last};
        }};
    expect_same(one, [](Context& ctx, const Values& x, const OpCase::Weights&) {
        const auto [a, b] = parts_of(ctx, x, 5);
        const auto first =
            ops::linear_recurrence(ctx, {a[0], a[1], a[2], a[3], a[4], 0.7}, documents_of(kFirst));
        const auto second = ops::linear_recurrence(ctx, {b[0], b[1], b[2], b[3], b[4], 0.7},
                                                   documents_of(kSecond), first.last);
        return Values{together(ctx, first.o, second.o), second.last};
    });
}

TEST(continued, refuses_states_that_do_not_fit) {
    TestContext t;
    const auto x = [&](const Shape& shape) { return random_tensor(t.allocator, shape, DType::f64, "x"); };
    EXPECT_THROW(ops::Prefixed(t.allocator, *documents_of({3, 2}), {1}), InternalError);
    EXPECT_THROW(ops::attention_continued(t.ctx, x({3, 1, 2}), x({3, 1, 2}), x({3, 1, 2}), documents_of({3}),
                                          {x({2, 1, 2}), x({2, 1, 2}), {4}}, {}),
                 InternalError);
}

} // namespace
} // namespace braid::testing

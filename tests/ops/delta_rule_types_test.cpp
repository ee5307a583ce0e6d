// The delta rule in f32 and bf16: decoding, and heads as large as are in use.

#include <cmath>

#include "ops/recurrence/delta_rule.h"
#include "tests/support/op_case.h"

namespace braid::testing {
namespace {

constexpr double kQueryScale = 0.3;

/// q and k of unit length, v, g and beta for `heads` heads of `size`, in f64.
Values make_inputs(Allocator& allocator, int64_t tokens, int64_t heads, int64_t size) {
    const auto random = [&](const Shape& shape, const char* name) {
        return random_tensor(allocator, shape, DType::f64, name);
    };
    Values x = {random({tokens, heads, size}, "q"), random({tokens, heads, size}, "k"),
                random({tokens, heads, size}, "v"), random({tokens, heads}, "g"),
                random({tokens, heads}, "beta")};
    for (const size_t i : {0, 1})
        for (int64_t row = 0; row < tokens * heads; ++row) {
            const std::span<double> values(x[i].data<double>() + row * size, static_cast<size_t>(size));
            double square = 0;
            for (const double value : values) square += value * value;
            for (double& value : values) value /= std::sqrt(square);
        }
    for (double& g : x[3].span<double>()) g = -0.05 * std::log1p(std::exp(g));
    for (double& beta : x[4].span<double>()) beta = 1 / (1 + std::exp(-beta));
    return x;
}

TEST(delta_rule_types, heads_of_256) {
    TestContext t;
    t.set_documents({66, 0, 5});
    const OpCase op{
        "delta rule",
        {},
        make_inputs(t.allocator, 71, 1, 256),
        [documents = t.ctx.documents](Context& ctx, const Values& x, const OpCase::Weights&) {
            return Values{ops::gated_delta_rule(ctx, x[0], x[1], x[2], x[3], x[4], documents, kQueryScale)};
        },
        {3, 4}};
    // as delta_rule.f32_and_threads, with sums of 256 terms
    expect_f32_close_to_f64(op, 512 * std::numeric_limits<float>::epsilon());
    expect_bf16_close_to_f32(op);
}

/// Holds parts in `dtype`, each from the state of the one before, against the whole document in f64, from the
/// same numbers. `bound` for outputs.
void check_parts(DType dtype, double bound) {
    TestContext t, tested(test_device());
    const DType wide = accumulation_dtype(dtype);
    Values given, exact;
    const Values x = make_inputs(t.allocator, 41, 3, 40);
    for (size_t i = 0; i < x.size(); ++i) {
        given.push_back(converted(t.allocator, x[i], i < 3 ? dtype : wide));
        exact.push_back(converted(t.allocator, given[i], DType::f64));
    }
    t.set_documents({41});
    Tensor final_state;
    const Tensor whole = ops::gated_delta_rule(t.ctx, exact[0], exact[1], exact[2], exact[3], exact[4],
                                               t.ctx.documents, kQueryScale, {}, &final_state);
    Tensor state;
    int64_t first = 0;
    for (const int64_t count : {1, 3, 37}) {
        Values part;
        for (const Tensor& input : given)
            part.push_back(to_device(*tested.ctx.allocator, input).rows(first, count));
        const Tensor o = ops::gated_delta_rule(tested.ctx, part[0], part[1], part[2], part[3], part[4],
                                               Documents::single(count), kQueryScale, state, &state);
        expect_close(to_device(t.allocator, o), whole.rows(first, count), bound,
                     fmt::format("{} tokens in {}", count, name_of(dtype)));
        first += count;
    }
    EXPECT_EQ(state.dtype(), wide);
    expect_close(to_device(t.allocator, state), final_state.view(state.shape()),
                 256 * std::numeric_limits<float>::epsilon(), "state");
}

TEST(delta_rule_types, parts_are_near_the_document_in_f64) {
    // as delta_rule.f32_and_threads; of bf16 the outputs are rounded once more
    const double sums = 256 * std::numeric_limits<float>::epsilon();
    check_parts(DType::f32, sums);
    check_parts(DType::bf16, sums + 0x1p-8);
}

} // namespace
} // namespace braid::testing

#include "ops/recurrence/causal_conv.h"

#include <cmath>

#include "tests/support/op_case.h"

namespace braid::testing {
namespace {

OpCase conv_case(Allocator& allocator, const std::vector<int32_t>& lengths, int64_t channels, int64_t taps,
                 bool silu) {
    TestContext documents;
    documents.set_documents(lengths);
    const DocumentsPtr borders = documents.ctx.documents;
    return {"causal conv",
            {{{channels, taps}}},
            {random_tensor(allocator, {borders->num_tokens(), channels}, DType::f64, "x")},
            [borders, silu](Context& ctx, const Values& x, const OpCase::Weights& w) {
                return Values{ops::causal_conv(ctx, x[0], w[0], borders, silu)};
            }};
}

const std::vector<std::vector<int32_t>> kDocuments = {{1}, {2, 1}, {0, 5, 0, 3, 9, 0}, {140, 2, 120}};

TEST(causal_conv, gradients) {
    TestContext t;
    for (const auto& lengths : kDocuments)
        for (const int64_t taps : {1, 2, 4})
            for (const bool silu : {false, true})
                check_op_gradients(conv_case(t.allocator, lengths, 5, taps, silu));
}

/// The definition: every pair of tokens of one document, taken apart by their distance.
TEST(causal_conv, matches_sums_within_documents) {
    for (const auto& lengths : kDocuments)
        for (const int64_t channels : {3, 300}) {
            TestContext t;
            constexpr int64_t kTaps = 4;
            const OpCase op = conv_case(t.allocator, lengths, channels, kTaps, true);
            const Values results = run_op(op, t, DType::f64);
            const auto x = to_vector(op.inputs[0]), y = to_vector(results[0]);
            const auto w = to_vector(
                random_tensor(t.allocator, {channels, kTaps}, DType::f64, "causal conv parameter 0"));
            int64_t first = 0;
            for (const int32_t length : lengths) {
                for (int64_t now = first; now < first + length; ++now)
                    for (int64_t c = 0; c < channels; ++c) {
                        double u = 0;
                        for (int64_t then = first; then <= now; ++then)
                            if (const int64_t tap = kTaps - 1 - (now - then); tap >= 0)
                                u += w[static_cast<size_t>(c * kTaps + tap)] *
                                     x[static_cast<size_t>(then * channels + c)];
                        // four products of size up to ten
                        ASSERT_NEAR(y[static_cast<size_t>(now * channels + c)], u / (1 + std::exp(-u)),
                                    1e-13);
                    }
                first += length;
            }
        }
}

TEST(causal_conv, reads_strided_rows) {
    TestContext t;
    const Tensor wide = random_tensor(t.allocator, {23, 9}, DType::f64, "wide");
    OpCase op = conv_case(t.allocator, {20, 3}, 6, 4, true);
    op.inputs = {converted(t.allocator, wide.columns(2, 6), DType::f64)};
    const Values expected = run_op(op, t, DType::f64);
    // run_op packs what it is given; the strided value is put in its place, which leaves y and dw to compare
    OpCase strided = op;
    strided.forward = [&](Context& ctx, const Values&, const OpCase::Weights& w) {
        return op.forward(ctx, {wide.columns(2, 6)}, w);
    };
    const Values found = run_op(strided, t, DType::f64);
    ASSERT_EQ(found.size(), 2U);
    expect_identical(found[0], expected[0], "y");
    expect_identical(found[1], expected[2], "dw");
}

TEST(causal_conv, f32_and_threads) {
    TestContext t;
    const OpCase op = conv_case(t.allocator, {400, 0, 257, 1}, 261, 4, true);
    // four products, one activation; weight gradients sum 650 terms of size one whose total is of that root
    expect_f32_close_to_f64(op, 64 * std::numeric_limits<float>::epsilon());
    expect_same_bits_for_any_threads(op);
    expect_bf16_close_to_f32(op);
}

TEST(causal_conv, parts_are_the_document) {
    for (const DType dtype : {DType::f64, DType::f32, DType::bf16})
        for (const int64_t taps : {1, 2, 4}) {
            TestContext t(test_device());
            ParameterStore store;
            store.begin_unit("unit");
            ParameterSpec spec;
            spec.name = "w";
            spec.shape = {7, taps};
            const Parameter* w = store.declare(spec);
            store.allocate(*t.ctx.allocator, dtype, false);
            copy(random_tensor(t.allocator, spec.shape, store.dtype(), "w"), w->value());
            const Tensor x = to_device(*t.ctx.allocator, random_tensor(t.allocator, {20, 7}, dtype, "x"));
            t.set_documents({20});
            const Tensor whole = ops::causal_conv(t.ctx, x, w, t.ctx.documents, true);
            Tensor last;
            int64_t first = 0;
            for (const int64_t count : {2, 0, 1, 1, 11, 5}) {
                const auto [y, inputs] = ops::causal_conv_continued(t.ctx, x.rows(first, count), w,
                                                                    Documents::single(count), last, true);
                last = inputs;
                // zeros in front of a document add nothing, so bits agree
                if (count)
                    expect_identical(to_device(t.allocator, y),
                                     to_device(t.allocator, whole.rows(first, count)),
                                     fmt::format("tokens from {} in {}", first, name_of(dtype)));
                first += count;
            }
        }
}

TEST(causal_conv, refuses_shapes_that_do_not_fit) {
    TestContext t;
    OpCase op = conv_case(t.allocator, {4}, 3, 2, true);
    op.inputs = {Tensor::zeros(t.allocator, {4, 4}, DType::f64)};
    EXPECT_THROW(run_op(op, t, DType::f64), InternalError);
    op.inputs = {Tensor::zeros(t.allocator, {5, 3}, DType::f64)};
    EXPECT_THROW(run_op(op, t, DType::f64), InternalError);
}

} // namespace
} // namespace braid::testing

#include "ops/attention/rope.h"

#include <cmath>

#include "ops/basic/elementwise.h"
#include "tests/support/op_case.h"

namespace braid::testing {
namespace {

/// The definition, a pair at a time in long double.
std::vector<double> plain_rope(const Tensor& x, const Documents& documents, const ops::RopeOptions& options) {
    const int64_t heads = x.dim(1), size = x.dim(2);
    const int64_t rotary = std::llround(options.fraction * static_cast<double>(size));
    std::vector<double> y = to_vector(x);
    for (size_t n = 1; n < documents.offsets.size(); ++n)
        for (int64_t t = documents.offsets[n - 1]; t < documents.offsets[n]; ++t)
            for (int64_t h = 0; h < heads; ++h)
                for (int64_t i = 0; i < rotary / 2; ++i) {
                    const auto position = static_cast<long double>(t - documents.offsets[n - 1] +
                                                                   (n == 1 ? documents.first_position : 0));
                    const long double angle = position * std::pow(static_cast<long double>(options.theta),
                                                                  -2.0L * static_cast<long double>(i) /
                                                                      static_cast<long double>(rotary));
                    double& a = y[static_cast<size_t>((t * heads + h) * size + i)];
                    double& b = y[static_cast<size_t>((t * heads + h) * size + i + rotary / 2)];
                    const long double turned = a * std::cos(angle) - b * std::sin(angle);
                    b = static_cast<double>(b * std::cos(angle) + a * std::sin(angle));
                    a = static_cast<double>(turned);
                }
    return y;
}

TEST(rope, matches_the_definition) {
    for (const double fraction : {1.0, 0.5, 0.25})
        for (const int64_t first_position : {int64_t{0}, int64_t{1000}}) {
            for (const std::vector<int32_t>& offsets :
                 {std::vector<int32_t>{0, 138}, {0, 1, 131, 131, 138}}) {
                TestContext t;
                const auto documents = std::make_shared<Documents>(Documents{offsets, 1, 0, first_position});
                const ops::RopeOptions options{1e4, fraction};
                const Tensor x = random_tensor(t.allocator, {138, 3, 8}, DType::f64, "x");
                const Tensor y = ops::rope(t.ctx, x, documents, options);
                const auto expected = plain_rope(x, *documents, options);
                // the angle of position 1130 at frequency 1 is rounded by 1130 * 1.1e-16
                expect_close(y, from_vector(t.allocator, x.shape(), DType::f64, expected), 1e-12, "rope");
            }
        }
}

TEST(rope, gradients) {
    for (const double fraction : {1.0, 0.25}) {
        TestContext t; // outlives the inputs, which give their memory back to it
        OpCase op;
        op.name = "rope";
        const auto documents = std::make_shared<Documents>(Documents{{0, 3, 3, 4, 9}, 1, 0, 11});
        op.inputs = {random_tensor(t.allocator, {9, 2, 8}, DType::f64, "x")};
        op.forward = [&](Context& ctx, const Values& in, const OpCase::Weights&) {
            return Values{ops::rope(ctx, in[0], documents, {1e4, fraction})};
        };
        check_op_gradients(op);
        // a rotation of numbers near 1 with factors rounded to f32: a few times 2^-24
        expect_f32_close_to_f64(op, 1e-6);
    }
}

TEST(rope, same_bits_for_any_threads) {
    TestContext t;
    t.set_documents({200, 301});
    OpCase op;
    op.name = "rope_threads";
    op.inputs = {random_tensor(t.allocator, {501, 4, 16}, DType::f64, "x")};
    op.forward = [documents = t.ctx.documents](Context& ctx, const Values& in, const OpCase::Weights&) {
        return Values{ops::rope(ctx, in[0], documents, {1e6, 1})};
    };
    expect_same_bits_for_any_threads(op);
    expect_bf16_close_to_f32(op);
}

TEST(rope, inner_products_depend_on_the_distance_alone) {
    TestContext t;
    t.set_documents({300});
    // the same q and k at every position
    const Tensor row = random_tensor(t.allocator, {2, 16}, DType::f64, "row");
    const Tensor q = Tensor::empty(t.allocator, {300, 1, 16}, DType::f64);
    const Tensor k = Tensor::empty(t.allocator, {300, 1, 16}, DType::f64);
    for (int64_t i = 0; i < 300 * 16; ++i) {
        q.data<double>()[i] = row.data<double>()[i % 16];
        k.data<double>()[i] = row.data<double>()[16 + i % 16];
    }
    const auto turned_q = to_vector(ops::rope(t.ctx, q, t.ctx.documents, {1e4, 1}));
    const auto turned_k = to_vector(ops::rope(t.ctx, k, t.ctx.documents, {1e4, 1}));
    const auto product = [&](size_t a, size_t b) {
        double sum = 0;
        for (size_t i = 0; i < 16; ++i) sum += turned_q[a * 16 + i] * turned_k[b * 16 + i];
        return sum;
    };
    for (size_t distance : {0u, 1u, 64u, 99u}) {
        for (size_t position : {100u, 163u, 164u, 299u})
            EXPECT_NEAR(product(position, position - distance), product(distance, 0), 1e-11) << distance;
        if (distance > 0) {
            EXPECT_GT(std::abs(product(distance, 0) - product(0, 0)), 1e-3) << distance;
        }
    }
}

TEST(rope, positions_go_on_with_the_bits_of_one_piece) {
    TestContext t;
    const Tensor x = random_tensor(t.allocator, {150, 2, 8}, DType::f32, "x");
    const Tensor whole = ops::rope(t.ctx, x, Documents::single(150), {1e4, 0.5});
    for (const int64_t first : {1, 64, 149}) {
        const Tensor rest =
            ops::rope(t.ctx, x.rows(first, 150 - first), Documents::single(150 - first, first), {1e4, 0.5});
        expect_identical(rest, whole.rows(first, 150 - first), "rope of the rest");
    }
}

TEST(rope, reads_strided_rows_and_passes_at_fraction_0) {
    TestContext t;
    const Tensor wide = random_tensor(t.allocator, {5, 20}, DType::f64, "wide");
    const Tensor part = wide.columns(3, 8).view({5, 2, 4});
    const Tensor packed = converted(t.allocator, part, DType::f64);
    expect_identical(ops::rope(t.ctx, part, Documents::single(5), {}),
                     ops::rope(t.ctx, packed, Documents::single(5), {}), "rope");
    EXPECT_EQ(ops::rope(t.ctx, part, Documents::single(5), {1e4, 0}).id(), part.id());
    EXPECT_THROW(ops::rope(t.ctx, part, Documents::single(5), {1e4, 0.25}),
                 InternalError); // one element
    EXPECT_THROW(ops::rope(t.ctx, part, Documents::single(4), {}), InternalError);
}

} // namespace
} // namespace braid::testing

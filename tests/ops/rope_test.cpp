#include "ops/attention/rope.h"

#include <cmath>
#include <map>

#include "ops/basic/elementwise.h"
#include "tests/support/op_case.h"

namespace braid::testing {
namespace {

/// The definition, a pair at a time in long double.
std::vector<double> plain_rope(const Tensor& x, const Documents& documents, const ops::RopeOptions& options) {
    const int64_t heads = x.dim(1), size = x.dim(2);
    const int64_t rotary = std::llround(options.fraction * static_cast<double>(size));
    const bool neighbours = options.pairing == ops::RopePairing::interleaved;
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
                    const int64_t head = (t * heads + h) * size + options.offset;
                    double& a = y[static_cast<size_t>(head + (neighbours ? 2 * i : i))];
                    double& b = y[static_cast<size_t>(head + (neighbours ? 2 * i + 1 : i + rotary / 2))];
                    const long double turned = a * std::cos(angle) - b * std::sin(angle);
                    b = static_cast<double>(b * std::cos(angle) + a * std::sin(angle));
                    a = static_cast<double>(turned);
                }
    return y;
}

const std::vector<ops::RopeOptions>& all_options() {
    using ops::RopePairing;
    static const std::vector<ops::RopeOptions> options = {
        {},
        {.fraction = 0.5},
        {.fraction = 0.25},
        {.pairing = RopePairing::interleaved},
        {.fraction = 0.5, .offset = 4},
        {.fraction = 0.5, .offset = 3, .pairing = RopePairing::interleaved}};
    return options;
}

TEST(rope, matches_the_definition) {
    for (const ops::RopeOptions& options : all_options())
        for (const int64_t first_position : {int64_t{0}, int64_t{1000}})
            for (const std::vector<int32_t>& offsets :
                 {std::vector<int32_t>{0, 138}, {0, 1, 131, 131, 138}}) {
                TestContext t, tested(test_device());
                const auto documents = std::make_shared<Documents>(Documents{offsets, 1, 0, first_position});
                const Tensor x = random_tensor(t.allocator, {138, 3, 8}, DType::f64, "x");
                const Tensor y =
                    ops::rope(tested.ctx, to_device(*tested.ctx.allocator, x), documents, options);
                const auto expected = plain_rope(x, *documents, options);
                // the angle of position 1130 at frequency 1 is rounded by 1130 * 1.1e-16
                expect_close(to_device(t.allocator, y),
                             from_vector(t.allocator, x.shape(), DType::f64, expected), 1e-12, "rope");
            }
}

TEST(rope, gradients) {
    for (const ops::RopeOptions& options : all_options()) {
        TestContext t; // outlives the inputs, which give their memory back to it
        OpCase op;
        op.name = "rope";
        const auto documents = std::make_shared<Documents>(Documents{{0, 3, 3, 4, 9}, 1, 0, 11});
        op.inputs = {random_tensor(t.allocator, {9, 2, 8}, DType::f64, "x")};
        op.forward = [&](Context& ctx, const Values& in, const OpCase::Weights&) {
            return Values{ops::rope(ctx, in[0], documents, options)};
        };
        check_op_gradients(op);
        // a rotation of numbers near 1 with factors rounded to f32: a few times 2^-24
        expect_f32_close_to_f64(op, 1e-6);
    }
}

// Figures of transformers 5.24 (modeling_rope_utils), which makes the ramps in f32: of what a ramp keeps, at
// least a thirteenth here, 13 x 2^-24 is rounded.
TEST(rope, scaled_frequencies) {
    using ops::RopeScalingType;
    ops::RopeScaling yarn{.type = RopeScalingType::yarn, .factor = 40, .original_length = 4096};
    const auto expect = [](const std::vector<double>& found, const std::map<size_t, double>& expected) {
        ASSERT_EQ(found.size(), 32u);
        for (const auto& [i, frequency] : expected) EXPECT_NEAR(found[i] / frequency, 1, 1e-6) << i;
    };
    expect(ops::rope_frequencies(1e4, 64, yarn), {{0, 1.0},
                                                  {10, 0.056234132519034905},
                                                  {13, 0.01837814619237566},
                                                  {16, 0.005499999977648258},
                                                  {20, 0.0007905693726326465},
                                                  {23, 3.33380358040831e-05},
                                                  {31, 3.33380358040831e-06}});
    EXPECT_DOUBLE_EQ(ops::rope_amplitude(yarn), 1.3688879454113936);
    yarn.round_ramp = false;
    yarn.attention_factor = 1.25;
    expect(ops::rope_frequencies(1e4, 64, yarn), {{10, 0.056234132519034905},
                                                  {13, 0.018860062884420953},
                                                  {16, 0.005524062588810921},
                                                  {20, 0.0007226381304914822},
                                                  {24, 2.5e-05}});
    EXPECT_EQ(ops::rope_amplitude(yarn), 1.25);
    const ops::RopeScaling llama3{.type = RopeScalingType::llama3, .factor = 8, .original_length = 8192};
    expect(ops::rope_frequencies(5e5, 64, llama3), {{0, 1.0},
                                                    {13, 0.004839421345719893},
                                                    {16, 0.0005248461609929547},
                                                    {20, 3.428102195952591e-05},
                                                    {23, 1.0017868402809974e-05},
                                                    {31, 3.7673226901739635e-07}});
    EXPECT_EQ(ops::rope_amplitude(llama3), 1);
    const ops::RopeScaling linear{.type = RopeScalingType::linear, .factor = 8};
    const auto plain = ops::rope_frequencies(5e5, 64, {}), stretched = ops::rope_frequencies(5e5, 64, linear);
    for (size_t i = 0; i < 32; ++i) EXPECT_DOUBLE_EQ(stretched[i], plain[i] / 8);
}

TEST(rope, an_amplitude_multiplies_what_turns) {
    TestContext t, tested(test_device());
    const Tensor x = random_tensor(t.allocator, {5, 2, 8}, DType::f64, "x");
    ops::RopeOptions options{.fraction = 0.5};
    options.scaling = {.type = ops::RopeScalingType::yarn, .factor = 1, .original_length = 100};
    const Tensor plain = ops::rope(t.ctx, x, Documents::single(5), options);
    options.scaling.attention_factor = 2;
    const Tensor twice = to_device(t.allocator, ops::rope(tested.ctx, to_device(*tested.ctx.allocator, x),
                                                          Documents::single(5), options));
    for (int64_t i = 0; i < x.numel(); ++i)
        EXPECT_NEAR(twice.data<double>()[i], (i % 8 < 4 ? 2 : 1) * plain.data<double>()[i], 1e-12) << i;
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

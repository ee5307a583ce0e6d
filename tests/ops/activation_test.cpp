#include "ops/basic/activation.h"

#include <cmath>

#include "ops/basic/split.h"
#include "tests/support/op_case.h"

namespace braid::testing {
namespace {

using Unary = Tensor (*)(Context&, const Tensor&);

OpCase unary_case(Allocator& allocator, const std::string& name, Unary function, const Shape& shape) {
    return {name,
            {},
            {random_tensor(allocator, shape, DType::f64, "x", 2, 0.1)},
            [function](Context& ctx, const Values& x, const OpCase::Weights&) {
                return Values{function(ctx, x[0])};
            }};
}

OpCase gate_case(Allocator& allocator, const Shape& shape, const Shape& gate) {
    return {"sigmoid_gate",
            {},
            {random_tensor(allocator, shape, DType::f64, "x"),
             random_tensor(allocator, gate, DType::f64, "gate")},
            [](Context& ctx, const Values& x, const OpCase::Weights&) {
                return Values{ops::sigmoid_gate(ctx, x[0], x[1])};
            }};
}

const Shape kGateShapes[] = {{1, 2}, {3, 34}, {0, 4}, {70, 6}};

TEST(activation, gradients) {
    TestContext t;
    for (const Shape& shape : kGateShapes) {
        check_op_gradients(unary_case(t.allocator, "silu", ops::silu, shape));
        check_op_gradients(unary_case(t.allocator, "sigmoid", ops::sigmoid, shape));
        check_op_gradients(unary_case(t.allocator, "gelu", ops::gelu, shape));
        check_op_gradients(unary_case(t.allocator, "relu2", ops::relu2, shape));
        check_op_gradients(unary_case(t.allocator, "swiglu", ops::swiglu, shape));
        check_op_gradients(unary_case(t.allocator, "geglu", ops::geglu, shape));
    }
}

TEST(activation, gate_gradients) {
    TestContext t;
    check_op_gradients(gate_case(t.allocator, {5, 3, 4}, {5, 3, 4}));
    check_op_gradients(gate_case(t.allocator, {5, 3, 4}, {5, 3}));
    check_op_gradients(gate_case(t.allocator, {5, 7}, {5, 1}));
    check_op_gradients(gate_case(t.allocator, {1, 1}, {1, 1}));
    check_op_gradients(gate_case(t.allocator, {0, 3, 2}, {0, 3}));
}

TEST(activation, strided_rows) {
    TestContext t;
    check_op_gradients({"strided activations",
                        {},
                        {random_tensor(t.allocator, {5, 25}, DType::f64, "wide")},
                        [](Context& ctx, const Values& x, const OpCase::Weights&) {
                            const int64_t sizes[] = {8, 1, 8, 6, 2};
                            const auto p = ops::split_columns(ctx, x[0], sizes);
                            return Values{ops::swiglu(ctx, p[0]), ops::silu(ctx, p[2]),
                                          ops::sigmoid_gate(ctx, p[3].view({5, 2, 3}), p[4]),
                                          ops::sigmoid_gate(ctx, p[0], p[2]),
                                          ops::sigmoid_gate(ctx, p[0], p[1])};
                        }});
}

double logistic(double x) {
    return 1 / (1 + std::exp(-x));
}
double exact_gelu(double x) {
    return 0.5 * x * (1 + std::tanh(std::sqrt(2 / std::acos(-1.0)) * (x + 0.044715 * x * x * x)));
}

TEST(activation, match_the_definitions) { // a few roundings of numbers below ten
    TestContext t;
    const auto expect = [&](const char* name, Unary function, double (*exact)(double)) {
        const OpCase op = unary_case(t.allocator, name, function, {40, 7});
        const auto x = to_vector(op.inputs[0]), y = to_vector(run_op(op, t, DType::f64)[0]);
        for (size_t i = 0; i < x.size(); ++i)
            EXPECT_NEAR(y[i], exact(x[i]), 1e-14) << name << "(" << x[i] << ")";
    };
    expect("silu", ops::silu, [](double x) { return x * logistic(x); });
    expect("sigmoid", ops::sigmoid, logistic);
    expect("gelu", ops::gelu, exact_gelu);
    expect("relu2", ops::relu2, [](double x) { return x > 0 ? x * x : 0; });
}

TEST(activation, gated_units_take_the_gate_first) {
    TestContext t;
    const OpCase op = unary_case(t.allocator, "swiglu", ops::swiglu, {3, 10});
    const auto x = to_vector(op.inputs[0]), y = to_vector(run_op(op, t, DType::f64)[0]);
    const auto z = to_vector(run_op(unary_case(t.allocator, "geglu", ops::geglu, {3, 10}), t, DType::f64)[0]);
    for (size_t i = 0; i < 3; ++i)
        for (size_t j = 0; j < 5; ++j) {
            const double gate = x[i * 10 + j], up = x[i * 10 + 5 + j];
            EXPECT_NEAR(y[i * 5 + j], gate * logistic(gate) * up, 1e-14);
            EXPECT_NEAR(z[i * 5 + j], exact_gelu(gate) * up, 1e-14);
        }
    const OpCase head = gate_case(t.allocator, {2, 3, 4}, {2, 3});
    const auto a = to_vector(head.inputs[0]), g = to_vector(head.inputs[1]);
    const auto b = to_vector(run_op(head, t, DType::f64)[0]);
    for (size_t i = 0; i < b.size(); ++i) EXPECT_NEAR(b[i], a[i] * logistic(g[i / 4]), 1e-14);
}

TEST(activation, f32_and_threads) {
    TestContext t;
    // a dozen roundings an element; up to 35 terms in the gradient of a head's gate
    const double bound = 40 * std::numeric_limits<float>::epsilon();
    for (const OpCase& op : {unary_case(t.allocator, "silu", ops::silu, {300, 35}),
                             unary_case(t.allocator, "gelu", ops::gelu, {300, 35}),
                             unary_case(t.allocator, "swiglu", ops::swiglu, {300, 130}),
                             unary_case(t.allocator, "relu2", ops::relu2, {300, 33}),
                             gate_case(t.allocator, {300, 2, 35}, {300, 2})}) {
        expect_f32_close_to_f64(op, bound);
        expect_same_bits_for_any_threads(op);
        expect_bf16_close_to_f32(op);
    }
}

TEST(activation, refuses_shapes_that_do_not_fit) {
    TestContext t;
    const Tensor x = random_tensor(t.allocator, {2, 3, 4}, DType::f32, "x");
    for (const Shape& gate : {Shape{2, 4}, Shape{3, 1}, Shape{2, 3, 1}})
        EXPECT_THROW(ops::sigmoid_gate(t.ctx, x, random_tensor(t.allocator, gate, DType::f32, "g")),
                     InternalError);
    EXPECT_THROW(ops::swiglu(t.ctx, random_tensor(t.allocator, {2, 3}, DType::f32, "x")), InternalError);
}

} // namespace
} // namespace braid::testing

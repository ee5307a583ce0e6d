// The recurrence in every setting, by kernels where the device has them and made of primitives, against the
// recurrence token by token; and kernels against primitives, two codes that share nothing.

#include "ops/recurrence/linear_recurrence.h"

#include <cmath>

#include "tests/support/op_case.h"

namespace braid::testing {
namespace {

enum class Decay { none, head, channel };

struct Setting {
    Decay decay;
    bool delta;
    std::vector<int32_t> documents;
    int64_t key_heads, heads, dk, dv;
    bool initial = false;
    double rate = 0.2;
    bool composite = false; // made of primitives, whatever the device has

    int64_t tokens() const {
        int64_t sum = 0;
        for (const int32_t length : documents) sum += length;
        return sum;
    }
};

constexpr double kDotScale = 0.3;

/// Inputs {q, k, v, then log_decay, beta, initial where there are some}; k of unit length.
OpCase recurrence_case(Allocator& allocator, const Setting& s) {
    const int64_t tokens = s.tokens();
    OpCase op;
    op.name = "recurrence";
    const Tensor k = random_tensor(allocator, {tokens, s.key_heads, s.dk}, DType::f64, "k");
    for (int64_t row = 0; row < tokens * s.key_heads; ++row) {
        double square = 0;
        for (int64_t i = 0; i < s.dk; ++i) square += std::pow(k.data<double>()[row * s.dk + i], 2);
        for (int64_t i = 0; i < s.dk; ++i) k.data<double>()[row * s.dk + i] /= std::sqrt(square);
    }
    op.inputs = {random_tensor(allocator, {tokens, s.key_heads, s.dk}, DType::f64, "q"), k,
                 random_tensor(allocator, {tokens, s.heads, s.dv}, DType::f64, "v")};
    if (s.decay != Decay::none) {
        const Shape shape = s.decay == Decay::head ? Shape{tokens, s.heads} : Shape{tokens, s.heads, s.dk};
        const Tensor g = random_tensor(allocator, shape, DType::f64, "g");
        for (double& x : g.span<double>()) x = -s.rate * std::log1p(std::exp(x));
        op.wide_inputs.push_back(op.inputs.size());
        op.inputs.push_back(g);
    }
    if (s.delta) {
        const Tensor beta = random_tensor(allocator, {tokens, s.heads}, DType::f64, "beta");
        for (double& x : beta.span<double>()) x = 2 / (1 + std::exp(-x)); // up to 2: signs may turn
        op.wide_inputs.push_back(op.inputs.size());
        op.inputs.push_back(beta);
    }
    const DocumentsPtr documents = documents_of(s.documents);
    if (s.initial) {
        op.wide_inputs.push_back(op.inputs.size());
        op.inputs.push_back(random_tensor(allocator, {documents->num_documents(), s.heads, s.dk, s.dv},
                                          DType::f64, "initial"));
    }
    op.forward = [s, documents](Context& ctx, const Values& x, const OpCase::Weights&) {
        size_t at = 3;
        ops::LinearRecurrence in{x[0], x[1], x[2], {}, {}, kDotScale};
        if (s.decay != Decay::none) in.log_decay = x[at++];
        if (s.delta) in.beta = x[at++];
        const auto run = s.composite ? ops::composite_recurrence : ops::linear_recurrence;
        const auto [o, last] = run(ctx, in, documents, s.initial ? x[at] : Tensor());
        return Values{o, last};
    };
    return op;
}

/// {o, last}, token by token.
std::pair<std::vector<double>, std::vector<double>> plain(const Setting& s, const OpCase& op) {
    std::vector<std::vector<double>> x;
    for (const Tensor& input : op.inputs) x.push_back(to_vector(input));
    const auto n = [](int64_t value) { return static_cast<size_t>(value); };
    const size_t dk = n(s.dk), dv = n(s.dv), heads = n(s.heads), group = heads / n(s.key_heads);
    std::vector<double> o(x[2].size()), last(s.documents.size() * heads * dk * dv);
    for (size_t head = 0; head < heads; ++head) {
        size_t t = 0;
        for (size_t d = 0; d < s.documents.size(); ++d) {
            double* const state = last.data() + (d * heads + head) * dk * dv;
            if (s.initial) std::copy_n(x.back().data() + (d * heads + head) * dk * dv, dk * dv, state);
            for (int32_t i = 0; i < s.documents[d]; ++i, ++t) {
                const double *q = x[0].data() + (t * n(s.key_heads) + head / group) * dk,
                             *k = x[1].data() + (t * n(s.key_heads) + head / group) * dk,
                             *v = x[2].data() + (t * heads + head) * dv;
                for (size_t c = 0; c < dk; ++c)
                    for (size_t j = 0; j < dv; ++j) {
                        double g = 0;
                        if (s.decay == Decay::head) g = x[3][t * heads + head];
                        if (s.decay == Decay::channel) g = x[3][(t * heads + head) * dk + c];
                        state[c * dv + j] *= std::exp(g);
                    }
                for (size_t j = 0; j < dv; ++j) {
                    double u = v[j];
                    if (s.delta) {
                        for (size_t c = 0; c < dk; ++c) u -= k[c] * state[c * dv + j];
                        u *= x[s.decay == Decay::none ? 3 : 4][t * heads + head];
                    }
                    double out = 0;
                    for (size_t c = 0; c < dk; ++c) {
                        state[c * dv + j] += k[c] * u;
                        out += q[c] * state[c * dv + j];
                    }
                    o[(t * heads + head) * dv + j] = kDotScale * out;
                }
            }
        }
    }
    return {o, last};
}

/// Documents shorter and longer than chunks, empty ones, one token; groups of heads.
std::vector<Setting> settings() {
    std::vector<Setting> all;
    for (const Decay decay : {Decay::none, Decay::head, Decay::channel})
        for (const bool delta : {false, true}) {
            all.push_back({decay, delta, {1}, 1, 1, 1, 1});
            all.push_back({decay, delta, {}, 1, 2, 3, 2, true}); // what a rank without a sample has
            all.push_back({decay, delta, {0}, 1, 2, 3, 2, true});
            all.push_back({decay, delta, {35, 0, 1, 16, 7}, 2, 4, 3, 5, true});
            all.push_back({decay, delta, {20}, 1, 2, 4, 2});
            all.push_back({decay, delta, {64, 1, 70}, 2, 2, 4, 3, true, 3});
        }
    for (size_t i = 0, count = all.size(); i < count; ++i) {
        all.push_back(all[i]);
        all.back().composite = true;
    }
    return all;
}

TEST(linear_recurrence, equals_the_recurrence_token_by_token) {
    for (const Setting& s : settings()) {
        TestContext t, tested(test_device());
        const OpCase op = recurrence_case(t.allocator, s);
        const Values results = run_op(op, tested, DType::f64);
        const auto [o, last] = plain(s, op);
        // Some dozens of operations on numbers up to ten.
        expect_close(results[0], from_vector(t.allocator, results[0].shape(), DType::f64, o), 1e-12, "o");
        expect_close(results[1], from_vector(t.allocator, results[1].shape(), DType::f64, last), 1e-12,
                     "last");
    }
}

TEST(linear_recurrence, gradients) {
    for (const Setting& s : settings()) {
        if (s.tokens() > 40 && test_device().kind != DeviceKind::cpu) continue; // slow on an emulated GPU
        TestContext t;
        GradientCheckOptions options;
        options.max_elements = 12;
        check_op_gradients(recurrence_case(t.allocator, s), options);
    }
}

TEST(linear_recurrence, states_of_one_call_go_on_in_the_next) {
    for (const Setting& whole : settings()) {
        if (whole.documents.size() != 1 || whole.documents[0] < 2) continue;
        TestContext t, tested(test_device());
        const OpCase op = recurrence_case(t.allocator, whole);
        const Values all = run_op(op, tested, DType::f64);
        Tensor state, o;
        int64_t at = 0;
        for (const int64_t count : {3, 1, 16}) {
            Values x;
            for (const Tensor& input : op.inputs)
                x.push_back(to_device(*tested.ctx.allocator, input.rows(at, count)));
            const bool decays = whole.decay != Decay::none;
            const ops::LinearRecurrence in{
                x[0], x[1], x[2], decays ? x[3] : Tensor(), whole.delta ? x.back() : Tensor(), kDotScale};
            const auto next = ops::linear_recurrence(tested.ctx, in, Documents::single(count), state);
            state = next.last;
            expect_close(to_device(t.allocator, next.o), all[0].rows(at, count), 1e-12, "o");
            at += count;
        }
        expect_close(to_device(t.allocator, state), all[1], 1e-12, "state");
    }
}

TEST(linear_recurrence, the_strongest_decays_neither_overflow_nor_make_nan) {
    for (const Decay decay : {Decay::head, Decay::channel})
        for (const bool delta : {false, true})
            for (const DType dtype : {DType::f32, DType::bf16}) {
                TestContext t, tested(test_device());
                const OpCase op =
                    recurrence_case(t.allocator, {decay, delta, {70, 3}, 1, 2, 8, 4, false, 50});
                for (const Tensor& x : run_op(op, tested, dtype, dtype == DType::bf16))
                    for (const double value : to_vector(x)) ASSERT_TRUE(std::isfinite(value));
            }
}

// As delta_rule.equals_the_recurrence_with_gradients: a lost term is of the size of the values, and sums of
// some hundred products in f64 leave 1e-13, which betas up to 2 let add up over 130 tokens.
TEST(linear_recurrence, kernels_equal_the_composite) {
    for (const Decay decay : {Decay::none, Decay::head, Decay::channel})
        for (const bool delta : {false, true})
            for (const double rate : {0.02, 1.0, 6.0, 50.0}) { // decays of a chunk of e^-1 to e^-3000
                TestContext t, tested(test_device());
                Setting s{decay, delta, {130, 1, 0, 70, 64}, 2, 4, 12, 20, true, rate};
                const OpCase kernels = recurrence_case(t.allocator, s);
                s.composite = true;
                const Values expected = run_op(recurrence_case(t.allocator, s), tested, DType::f64),
                             found = run_op(kernels, tested, DType::f64);
                ASSERT_EQ(expected.size(), found.size());
                for (size_t i = 0; i < found.size(); ++i) // outputs, last states, the gradients of all inputs
                    expect_close(found[i], expected[i], 1e-10,
                                 fmt::format("decay {}, delta {}, rate {}, result {}",
                                             static_cast<int>(decay), delta, rate, i));
                if (decay == Decay::none) break;
            }
}

/// One number falls much faster than the others of its head, so that some references of decays are far from
/// it.
TEST(linear_recurrence, channels_of_very_different_decays) {
    for (const bool delta : {false, true}) {
        TestContext t, tested(test_device());
        Setting s{Decay::channel, delta, {150}, 1, 1, 6, 5, true, 0.01};
        const auto make = [&] {
            OpCase op = recurrence_case(t.allocator, s);
            for (int64_t row = 0; row < 150; ++row)
                for (const int64_t d : {1, 4})
                    op.inputs[3].data<double>()[row * 6 + d] *= d == 1 ? 5000 : row % 40 == 7 ? 1e5 : 1;
            return op;
        };
        const OpCase kernels = make();
        s.composite = true;
        const Values expected = run_op(make(), tested, DType::f64),
                     found = run_op(kernels, tested, DType::f64);
        for (size_t i = 0; i < found.size(); ++i)
            expect_close(found[i], expected[i], 1e-10, fmt::format("delta {}, result {}", delta, i));
        // as f32_and_threads, of 150 tokens
        expect_f32_close_to_f64(kernels, random_sum_error(150 * 6, 16));
    }
}

TEST(linear_recurrence, f32_and_threads) {
    TestContext t;
    for (const Decay decay : {Decay::none, Decay::head, Decay::channel})
        for (const bool delta : {false, true})
            for (const bool composite : {false, true}) {
                // The delta rule contracts for beta up to 1; here up to 2 it keeps lengths, and errors of 90
                // tokens add up.
                Setting s{decay, delta, {60, 30}, 2, 4, 16, 12};
                s.composite = composite;
                const OpCase op = recurrence_case(t.allocator, s);
                expect_f32_close_to_f64(op, random_sum_error(90 * 16, 16));
                expect_same_bits_for_any_threads(op);
                // Of keys that several heads share each head's gradient would be rounded by itself.
                if (!composite)
                    expect_bf16_close_to_f32(
                        recurrence_case(t.allocator, {decay, delta, {60, 30}, 4, 4, 16, 12}));
            }
    // one head of one document: the columns of the state are shared between threads
    expect_same_bits_for_any_threads(
        recurrence_case(t.allocator, {Decay::channel, true, {200}, 1, 1, 24, 80}));
}

TEST(linear_recurrence, refuses_shapes_that_do_not_fit) {
    TestContext t;
    const auto x = [&](const Shape& shape) { return random_tensor(t.allocator, shape, DType::f32, "x"); };
    const ops::LinearRecurrence in{x({4, 2, 3}), x({4, 2, 3}), x({4, 4, 5}), {}, {}, 1};
    const DocumentsPtr documents = Documents::single(4);
    ops::LinearRecurrence other = in;
    other.beta = x({4, 2});
    EXPECT_THROW(ops::linear_recurrence(t.ctx, other, documents), InternalError);
    other = in;
    other.log_decay = x({4, 4, 5});
    EXPECT_THROW(ops::linear_recurrence(t.ctx, other, documents), InternalError);
    other = in;
    other.v = x({4, 3, 5});
    EXPECT_THROW(ops::linear_recurrence(t.ctx, other, documents), InternalError);
    EXPECT_THROW(ops::linear_recurrence(t.ctx, in, documents, x({2, 4, 3, 5})), InternalError);
}

} // namespace
} // namespace braid::testing

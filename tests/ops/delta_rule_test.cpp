#include "ops/recurrence/delta_rule.h"

#include <cmath>

#include "ops/basic/split.h"
#include "ops/recurrence/chunk_plan.h"
#include "ops/recurrence/linear_recurrence.h"
#include "tests/support/op_case.h"

namespace braid::testing {
namespace {

struct DeltaSizes {
    std::vector<int32_t> documents; // lengths
    int64_t key_heads, value_heads, key_dim, value_dim;

    int64_t tokens() const {
        int64_t sum = 0;
        for (int32_t length : documents) sum += length;
        return sum;
    }
};

constexpr double kScale = 0.3;
constexpr double kSlow = 0.05, kFast = 4, kViolent = 300; // decay rates: e^g is about 0.96, 0.05 and 0

/// q, k (of unit length), v, g (about -rate), beta (within (0, 1)), in f64.
Values make_inputs(Allocator& allocator, const DeltaSizes& sizes, double rate) {
    const int64_t tokens = sizes.tokens();
    const auto random = [&](int64_t heads, int64_t dim, const char* name) {
        return random_tensor(allocator, {tokens, heads, dim}, DType::f64, name);
    };
    Values inputs = {random(sizes.key_heads, sizes.key_dim, "q"), random(sizes.key_heads, sizes.key_dim, "k"),
                     random(sizes.value_heads, sizes.value_dim, "v"),
                     random_tensor(allocator, {tokens, sizes.value_heads}, DType::f64, "g"),
                     random_tensor(allocator, {tokens, sizes.value_heads}, DType::f64, "beta")};
    for (const Tensor& x : {inputs[0], inputs[1]})
        for (int64_t row = 0; row < x.numel() / sizes.key_dim; ++row) {
            double* values = x.data<double>() + row * sizes.key_dim;
            double square = 0;
            for (int64_t i = 0; i < sizes.key_dim; ++i) square += values[i] * values[i];
            for (int64_t i = 0; i < sizes.key_dim; ++i) values[i] /= std::sqrt(square);
        }
    for (double& g : inputs[3].span<double>()) g = -rate * std::log1p(std::exp(g));
    for (double& beta : inputs[4].span<double>()) beta = 1 / (1 + std::exp(-beta));
    return inputs;
}

/// The same where operations run.
Values all_on_device(TestContext& t, const Values& x) {
    Values y;
    for (const Tensor& value : x) y.push_back(to_device(*t.ctx.allocator, value));
    return y;
}

/// A copy of packed numbers on the host.
Tensor copied(Allocator& host, const Tensor& x) {
    const Tensor y = Tensor::empty(host, x.shape(), x.dtype());
    copy(x, y);
    return y;
}

DocumentsPtr make_documents(const std::vector<int32_t>& lengths) {
    TestContext t;
    t.set_documents(lengths);
    return t.ctx.documents;
}

/// The case with all five inputs, or without g.
OpCase delta_case(Allocator& allocator, const DeltaSizes& sizes, double rate, bool with_decay = true) {
    Values inputs = make_inputs(allocator, sizes, rate);
    if (!with_decay) inputs.erase(inputs.begin() + 3);
    return {"delta rule",
            {},
            std::move(inputs),
            [documents = make_documents(sizes.documents), with_decay](Context& ctx, const Values& x,
                                                                      const OpCase::Weights&) {
                return Values{ops::gated_delta_rule(ctx, x[0], x[1], x[2], with_decay ? x[3] : Tensor(),
                                                    x.back(), documents, kScale)};
            },
            with_decay ? std::vector<size_t>{3, 4} : std::vector<size_t>{3}};
}

/// The recurrence, token by token, differentiated backwards through time: for one value head of one document,
/// in plain arrays. Keeps all states.
class Recurrence {
  public:
    Recurrence(const DeltaSizes& sizes, const Values& inputs) : s_(sizes) {
        for (const Tensor& x : inputs) in_.push_back(to_vector(x));
        out_ = in_[2];
        for (const auto& x : in_) grad_.emplace_back(x.size(), 0.0);
    }

    /// o, and with an output gradient also dq, dk, dv, dg, dbeta.
    void run(const std::vector<double>* d_output) {
        for (int64_t head = 0; head < s_.value_heads; ++head) {
            int64_t first = 0;
            for (const int32_t length : s_.documents) {
                run_document(head, first, length, d_output);
                first += length;
            }
        }
    }

    const std::vector<double>& output() const { return out_; }
    const std::vector<double>& gradient(size_t input) const { return grad_[input]; }

  private:
    using Matrix = std::vector<double>; // [d_k, d_v]

    void run_document(int64_t head, int64_t first, int64_t length, const std::vector<double>* d_output) {
        std::vector<Matrix> states = {Matrix(static_cast<size_t>(s_.key_dim * s_.value_dim), 0.0)};
        std::vector<Matrix> errors; // v - k S~, [1, d_v]
        for (int64_t t = first; t < first + length; ++t) forward_token(t, head, states, errors);
        if (!d_output) return;
        Matrix d_state(states[0].size(), 0.0);
        for (int64_t t = first + length - 1; t >= first; --t) {
            const auto i = static_cast<size_t>(t - first);
            backward_token(t, head, states[i], states[i + 1], errors[i], *d_output, d_state);
        }
    }

    void forward_token(int64_t t, int64_t head, std::vector<Matrix>& states, std::vector<Matrix>& errors) {
        const size_t kd = size(s_.key_dim), vd = size(s_.value_dim), key = key_at(t, head),
                     value = value_at(t, head), gate = gate_at(t, head);
        Matrix state = states.back(), error(vd);
        for (double& x : state) x *= std::exp(in_[3][gate]);
        for (size_t j = 0; j < vd; ++j) {
            error[j] = in_[2][value + j];
            for (size_t i = 0; i < kd; ++i) error[j] -= in_[1][key + i] * state[i * vd + j];
        }
        for (size_t j = 0; j < vd; ++j) {
            out_[value + j] = 0;
            for (size_t i = 0; i < kd; ++i) {
                state[i * vd + j] += in_[1][key + i] * in_[4][gate] * error[j];
                out_[value + j] += kScale * in_[0][key + i] * state[i * vd + j];
            }
        }
        states.push_back(std::move(state));
        errors.push_back(std::move(error));
    }

    /// d_state: the gradient of the state after the token, replaced by that of the state before.
    void backward_token(int64_t t, int64_t head, const Matrix& before, const Matrix& after,
                        const Matrix& error, const std::vector<double>& d_output, Matrix& d_state) {
        const size_t kd = size(s_.key_dim), vd = size(s_.value_dim), key = key_at(t, head),
                     value = value_at(t, head), gate = gate_at(t, head);
        const double decay = std::exp(in_[3][gate]), beta = in_[4][gate];
        for (size_t i = 0; i < kd; ++i)
            for (size_t j = 0; j < vd; ++j) {
                grad_[0][key + i] += kScale * d_output[value + j] * after[i * vd + j];
                d_state[i * vd + j] += kScale * in_[0][key + i] * d_output[value + j];
            }
        for (size_t j = 0; j < vd; ++j) {
            double d_delta = 0;
            for (size_t i = 0; i < kd; ++i) {
                d_delta += in_[1][key + i] * d_state[i * vd + j];
                grad_[1][key + i] += beta * error[j] * d_state[i * vd + j];
            }
            grad_[4][gate] += d_delta * error[j];
            grad_[2][value + j] += d_delta * beta;
            for (size_t i = 0; i < kd; ++i) {
                grad_[1][key + i] -= d_delta * beta * decay * before[i * vd + j];
                d_state[i * vd + j] -= d_delta * beta * in_[1][key + i];
            }
        }
        for (size_t x = 0; x < d_state.size(); ++x) {
            grad_[3][gate] += d_state[x] * decay * before[x];
            d_state[x] *= decay;
        }
    }

    static size_t size(int64_t n) { return static_cast<size_t>(n); }
    size_t key_at(int64_t t, int64_t head) const {
        return size((t * s_.key_heads + head / (s_.value_heads / s_.key_heads)) * s_.key_dim);
    }
    size_t value_at(int64_t t, int64_t head) const {
        return size((t * s_.value_heads + head) * s_.value_dim);
    }
    size_t gate_at(int64_t t, int64_t head) const { return size(t * s_.value_heads + head); }

    const DeltaSizes s_;
    std::vector<std::vector<double>> in_, grad_;
    std::vector<double> out_;
};

const std::vector<DeltaSizes>& all_sizes() {
    static const std::vector<DeltaSizes> sizes = {
        {{1}, 1, 1, 4, 4},                          // one token
        {{64}, 1, 1, 8, 8},                         // exactly one chunk
        {{63, 65, 64}, 1, 2, 8, 4},                 // around it
        {{130, 0, 1, 7, 0, 192, 77}, 2, 6, 12, 20}, // packed, empty documents, shared q and k, odd dimensions
        {{0, 300}, 1, 1, 33, 17},
        {{200}, 3, 3, 16, 70},  // wider values than a chunk
        {{66}, 1, 1, 256, 256}, // the largest heads in use
    };
    return sizes;
}

TEST(delta_rule, chunks_cover_documents) {
    const ops::ChunkPlan plan(*make_documents({130, 0, 64, 65, 1}));
    std::vector<std::array<int64_t, 4>> found;
    for (const ops::Chunk& c : plan.chunks)
        found.push_back({c.first_token, c.length, c.state_in, c.state_out});
    const std::vector<std::array<int64_t, 4>> expected = {
        {0, 64, -1, 0},   {64, 64, 0, 1},  {128, 2, 1, -1}, {130, 64, -1, -1},
        {194, 64, -1, 2}, {258, 1, 2, -1}, {259, 1, -1, -1}};
    EXPECT_EQ(found, expected);
    EXPECT_EQ(plan.document_chunks, (std::vector<int64_t>{0, 3, 3, 4, 6, 7}));
    EXPECT_EQ(plan.num_states, 3);
    EXPECT_EQ(plan.num_square_elements, 4 * 64 * 64 + 4 + 1 + 1);
    EXPECT_EQ(plan.chunks.back().square_offset, plan.num_square_elements - 1);
    const ops::ChunkPlan open(*make_documents({65, 0, 1}), {.initial = true, .last = true});
    found.clear();
    for (const ops::Chunk& c : open.chunks)
        found.push_back({c.first_token, c.length, c.state_in, c.state_out});
    EXPECT_EQ(found, (std::vector<std::array<int64_t, 4>>{{0, 64, 0, 6}, {64, 1, 6, 3}, {65, 1, 2, 5}}));
    EXPECT_EQ(open.num_states, 7);
}

TEST(delta_rule, equals_the_recurrence_with_gradients) {
    for (const DeltaSizes& sizes : all_sizes())
        for (const double rate : {kSlow, kFast, kViolent}) {
            TestContext t(test_device());
            const OpCase op = delta_case(t.allocator, sizes, rate);
            const Values results = run_op(op, t, DType::f64);
            const auto d_output =
                to_vector(random_tensor(t.allocator, results[0].shape(), DType::f64, "delta rule output 0"));
            Recurrence reference(sizes, op.inputs);
            reference.run(&d_output);
            const std::string what = fmt::format("{} tokens, rate {}", sizes.tokens(), rate);
            // A leak between documents or a lost term is of the size of the values themselves; sums of some
            // hundred products in f64 leave 1e-13.
            expect_close(results[0],
                         from_vector(t.allocator, results[0].shape(), DType::f64, reference.output()), 1e-10,
                         what + ", o");
            for (size_t i = 0; i < 5; ++i)
                expect_close(
                    results[i + 1],
                    from_vector(t.allocator, results[i + 1].shape(), DType::f64, reference.gradient(i)),
                    1e-10, fmt::format("{}, gradient {}", what, i));
        }
}

TEST(delta_rule, gradients) {
    GradientCheckOptions options;
    options.max_elements = 40;
    for (const DeltaSizes& sizes : {DeltaSizes{{3}, 1, 1, 2, 3}, DeltaSizes{{66, 0, 5}, 1, 2, 3, 4}}) {
        TestContext t;
        check_op_gradients(delta_case(t.allocator, sizes, kSlow), options);
        check_op_gradients(delta_case(t.allocator, sizes, kFast), options);
        check_op_gradients(delta_case(t.allocator, sizes, 0, false), options);
    }
}

TEST(delta_rule, zero_decay_is_plain_delta_net) {
    TestContext t(test_device());
    const DeltaSizes sizes{{100, 33}, 2, 4, 8, 8};
    const Values gated = run_op(delta_case(t.allocator, sizes, 0), t, DType::f64);
    const Values plain = run_op(delta_case(t.allocator, sizes, 0, false), t, DType::f64);
    ASSERT_EQ(gated.size(), 6U);
    ASSERT_EQ(plain.size(), 5U);
    for (const size_t i : {0, 1, 2, 3}) expect_identical(plain[i], gated[i], fmt::format("result {}", i));
    expect_identical(plain[4], gated[5], "dbeta");
}

/// Documents packed together give the bits of documents run one by one.
TEST(delta_rule, packing_changes_no_bit) {
    TestContext t(test_device());
    const DeltaSizes sizes{{70, 64, 0, 3, 129}, 1, 2, 8, 12};
    const OpCase packed = delta_case(t.allocator, sizes, kSlow);
    const Values whole = run_op(packed, t, DType::f64);
    const Tensor d_output = random_tensor(t.allocator, whole[0].shape(), DType::f64, "delta rule output 0");
    int64_t first = 0;
    for (const int32_t length : sizes.documents) {
        Values inputs;
        for (const Tensor& x : packed.inputs)
            inputs.push_back(to_device(*t.ctx.allocator, x).rows(first, length));
        const Segment segment("one", 0, Segment::Policy::keep, [&](Context& ctx, const Values& x) {
            return Values{
                ops::gated_delta_rule(ctx, x[0], x[1], x[2], x[3], x[4], make_documents({length}), kScale)};
        });
        Segment::Saved saved;
        const Values o = segment.forward(t.ctx, inputs, &saved);
        expect_identical(to_device(t.allocator, o[0]), whole[0].rows(first, length), "o");
        Gradients gradients(*t.ctx.allocator);
        gradients.add(o[0].ref(), to_device(*t.ctx.allocator, d_output.rows(first, length)));
        segment.backward(t.ctx, saved, gradients);
        for (size_t i = 0; i < inputs.size(); ++i)
            expect_identical(to_device(t.allocator, gradients.take(inputs[i].ref())),
                             whole[i + 1].rows(first, length), fmt::format("gradient {}", i));
        first += length;
    }
}

TEST(delta_rule, extreme_decay_stays_finite) {
    for (const DType dtype : {DType::f32, DType::f64})
        for (const double rate : {1e-8, 1e3, 1e30}) {
            TestContext t(test_device());
            const OpCase op = delta_case(t.allocator, {{150, 64}, 1, 2, 16, 16}, rate);
            const Values results = run_op(op, t, dtype);
            for (size_t i = 0; i < results.size(); ++i)
                for (const double x : to_vector(results[i]))
                    ASSERT_TRUE(std::isfinite(x)) << name_of(dtype) << ", rate " << rate << ", result " << i;
        }
}

TEST(delta_rule, not_a_number_is_not_lost) {
    TestContext t(test_device());
    for (size_t broken = 0; broken < 5; ++broken) {
        Values x = make_inputs(t.allocator, {{80}, 1, 1, 4, 4}, kSlow);
        x[broken].data<double>()[0] = std::nan("");
        x = all_on_device(t, x);
        const Tensor o =
            ops::gated_delta_rule(t.ctx, x[0], x[1], x[2], x[3], x[4], make_documents({80}), kScale);
        EXPECT_TRUE(std::isnan(to_vector(to_device(t.allocator, o))[0])) << "input " << broken;
    }
}

TEST(delta_rule, reads_strided_rows) {
    TestContext t(test_device());
    const DeltaSizes sizes{{70, 5}, 2, 4, 3, 5};
    const int64_t widths[] = {6, 6, 20, 4, 4};
    const Values packed = make_inputs(t.allocator, sizes, kSlow);
    const Tensor wide = Tensor::empty(t.allocator, {75, 41}, DType::f64);
    int64_t column = 1;
    for (size_t i = 0; i < 5; ++i) {
        const Tensor part = wide.columns(column, widths[i]);
        for (int64_t row = 0; row < 75; ++row)
            std::copy_n(packed[i].data<double>() + row * widths[i], widths[i],
                        part.data<double>() + row * 41);
        column += widths[i];
    }
    const Tensor placed = to_device(*t.ctx.allocator, wide);
    Values strided;
    column = 1;
    for (size_t i = 0; i < 5; ++i) {
        strided.push_back(placed.columns(column, widths[i]).view(packed[i].shape()));
        column += widths[i];
    }
    const auto documents = make_documents(sizes.documents);
    const auto run = [&](const Values& x) {
        TestContext r(test_device());
        r.ctx.tape = &r.tape;
        const Tensor o = ops::gated_delta_rule(r.ctx, x[0], x[1], x[2], x[3], x[4], documents, kScale);
        Gradients gradients(*r.ctx.allocator);
        const Tensor d_output = random_tensor(t.allocator, o.shape(), DType::f64, "do");
        gradients.add(o.ref(), to_device(*r.ctx.allocator, d_output));
        r.tape.backward(r.ctx, gradients);
        Values results = {copied(t.allocator, o)};
        for (const Tensor& input : x) results.push_back(copied(t.allocator, gradients.take(input.ref())));
        return results;
    };
    const Values expected = run(all_on_device(t, packed)), found = run(strided);
    for (size_t i = 0; i < expected.size(); ++i)
        expect_identical(found[i], expected[i], fmt::format("{}", i));
}

TEST(delta_rule, f32_and_threads) {
    TestContext t;
    const OpCase op = delta_case(t.allocator, {{300, 65, 10}, 2, 4, 32, 48}, kSlow);
    // Each result is reached through a few chained sums of up to 64 terms of the size of the result's largest
    // element, each rounded at eps / 2; the delta rule itself contracts (unit keys, beta below 1).
    expect_f32_close_to_f64(op, 256 * std::numeric_limits<float>::epsilon());
    expect_same_bits_for_any_threads(op);
    expect_bf16_close_to_f32(op);
    expect_bf16_close_to_f32(delta_case(t.allocator, {{64, 3}, 2, 2, 16, 8}, kSlow, false));
    // one head of one document: the columns of the state are shared between threads
    expect_same_bits_for_any_threads(delta_case(t.allocator, {{200}, 1, 1, 24, 80}, kSlow));
}

TEST(delta_rule, parts_are_the_document) {
    TestContext t(test_device());
    const DeltaSizes sizes{{190}, 2, 4, 8, 12};
    const Values x = all_on_device(t, make_inputs(t.allocator, sizes, kSlow));
    const auto documents = make_documents(sizes.documents);
    for (const bool with_decay : {true, false}) {
        const auto g = [&](const Tensor& all) { return with_decay ? all : Tensor(); };
        Tensor expected;
        const Tensor o =
            ops::gated_delta_rule(t.ctx, x[0], x[1], x[2], g(x[3]), x[4], documents, kScale, {}, &expected);
        Tensor state;
        int64_t first = 0;
        for (const int64_t count : {1, 0, 50, 3, 136}) {
            Values part;
            for (const Tensor& input : x) part.push_back(input.rows(first, count));
            const Tensor y = ops::gated_delta_rule(t.ctx, part[0], part[1], part[2], g(part[3]), part[4],
                                                   Documents::single(count), kScale, state, &state);
            if (count)
                expect_close(to_device(t.allocator, y), to_device(t.allocator, o.rows(first, count)), 1e-12,
                             fmt::format("tokens from {}", first));
            first += count;
        }
        expect_close(to_device(t.allocator, state), to_device(t.allocator, expected), 1e-12, "state");
    }
}

/// The kernels against the composite of primitives, whose gradients are those of its parts.
TEST(delta_rule, states_have_the_gradients_of_the_composite) {
    for (const DeltaSizes& sizes : {DeltaSizes{{3}, 1, 1, 2, 3}, DeltaSizes{{130, 0, 1, 64, 0}, 2, 6, 12, 20},
                                    DeltaSizes{{70, 128}, 1, 2, 33, 70}})
        for (const double rate : {kSlow, kFast}) {
            TestContext t;
            OpCase kernels = delta_case(t.allocator, sizes, rate);
            kernels.inputs.push_back(random_tensor(t.allocator,
                                                   {static_cast<int64_t>(sizes.documents.size()),
                                                    sizes.value_heads, sizes.key_dim, sizes.value_dim},
                                                   DType::f64, "initial"));
            OpCase composite = kernels;
            const DocumentsPtr documents = make_documents(sizes.documents);
            kernels.forward = [documents](Context& ctx, const Values& x, const OpCase::Weights&) {
                Tensor last;
                const Tensor o =
                    ops::gated_delta_rule(ctx, x[0], x[1], x[2], x[3], x[4], documents, kScale, x[5], &last);
                return Values{o, last};
            };
            composite.forward = [documents](Context& ctx, const Values& x, const OpCase::Weights&) {
                const auto all =
                    ops::composite_recurrence(ctx, {x[0], x[1], x[2], x[3], x[4], kScale}, documents, x[5]);
                return Values{all.o, all.last};
            };
            TestContext tested(test_device());
            const Values expected = run_op(composite, tested, DType::f64),
                         found = run_op(kernels, tested, DType::f64);
            ASSERT_EQ(found.size(), 8U);
            for (size_t i = 0; i < found.size(); ++i) // as equals_the_recurrence_with_gradients
                expect_close(found[i], expected[i], 1e-10,
                             fmt::format("{} tokens, result {}", sizes.tokens(), i));
        }
}

/// One of the two alone, and an output that nobody read.
TEST(delta_rule, gradients_through_states) {
    GradientCheckOptions options;
    options.max_elements = 40;
    TestContext t;
    const DeltaSizes sizes{{66, 0, 5}, 1, 2, 3, 4};
    const DocumentsPtr documents = make_documents(sizes.documents);
    OpCase op = delta_case(t.allocator, sizes, kSlow);
    op.forward = [documents](Context& ctx, const Values& x, const OpCase::Weights&) {
        Tensor last;
        ops::gated_delta_rule(ctx, x[0], x[1], x[2], x[3], x[4], documents, kScale, {}, &last);
        return Values{last};
    };
    check_op_gradients(op, options);
    op.inputs.push_back(random_tensor(t.allocator, {3, 2, 3, 4}, DType::f64, "initial"));
    op.forward = [documents](Context& ctx, const Values& x, const OpCase::Weights&) {
        return Values{ops::gated_delta_rule(ctx, x[0], x[1], x[2], x[3], x[4], documents, kScale, x[5])};
    };
    check_op_gradients(op, options);
}

TEST(delta_rule, final_states_change_no_bit_and_feed_diagnostics) {
    TestContext t(test_device());
    const DeltaSizes sizes{{90, 0, 64}, 1, 2, 4, 6};
    const Values inputs = make_inputs(t.allocator, sizes, kSlow), x = all_on_device(t, inputs);
    const auto documents = make_documents(sizes.documents);
    Tensor states;
    const Tensor o =
        ops::gated_delta_rule(t.ctx, x[0], x[1], x[2], x[3], x[4], documents, kScale, {}, &states);
    const Tensor alone = ops::gated_delta_rule(t.ctx, x[0], x[1], x[2], x[3], x[4], documents, kScale);
    expect_identical(to_device(t.allocator, alone), to_device(t.allocator, o), "o");
    ASSERT_EQ(states.shape(), (Shape{3, 2, 4, 6}));
    const Tensor final_states = to_device(t.allocator, states);
    double squares = 0;
    int64_t first = 0;
    for (int64_t d = 0; d < 3; ++d) {
        const int64_t length = sizes.documents[static_cast<size_t>(d)];
        Tensor state;
        ops::gated_delta_rule(t.ctx, x[0].rows(first, length), x[1].rows(first, length),
                              x[2].rows(first, length), x[3].rows(first, length), x[4].rows(first, length),
                              Documents::single(length), kScale, {}, &state);
        state = to_device(t.allocator, state);
        expect_identical(final_states.rows(d, 1), state, fmt::format("document {}", d));
        for (const double s : to_vector(state)) squares += s * s;
        first += length;
    }
    double sum = 0, least = 1;
    for (const double g : to_vector(inputs[3])) {
        sum += std::exp(g);
        least = std::min(least, std::exp(g));
    }
    const ops::DeltaDiagnostics found = ops::delta_diagnostics(x[3], states);
    EXPECT_NEAR(found.decay_mean, sum / static_cast<double>(x[3].numel()), 1e-14);
    EXPECT_EQ(found.decay_min, least);
    EXPECT_NEAR(found.state_rms, std::sqrt(squares / static_cast<double>(states.numel())), 1e-12);
    EXPECT_EQ(ops::delta_diagnostics({}, {}).decay_mean, 1);
}

// Of the CPU's kernels, whose operations are those that the profile counts on all devices.
TEST(delta_rule, work_is_linear_in_tokens) {
    const auto flops = [](int32_t tokens) {
        TestContext t(true);
        Profiler profiler;
        t.ctx.profiler = &profiler;
        const Values x = make_inputs(t.allocator, {{tokens}, 1, 1, 4, 4}, kSlow);
        const Tensor o =
            ops::gated_delta_rule(t.ctx, x[0], x[1], x[2], x[3], x[4], make_documents({tokens}), kScale);
        Gradients gradients(t.allocator);
        gradients.add(o.ref(), o);
        t.tape.backward(t.ctx, gradients);
        double sum = 0;
        for (const auto& event : profiler.events()) sum += event.flops;
        return sum;
    };
    // All chunks but the first and last of a document cost the same.
    const double step = flops(64 * 5) - flops(64 * 4);
    EXPECT_GT(step, 0);
    EXPECT_DOUBLE_EQ(flops(64 * 21) - flops(64 * 5), 16 * step);
}

TEST(delta_rule, saves_what_it_declares) {
    TestContext t(test_device());
    t.ctx.tape = &t.tape;
    const DeltaSizes sizes{{128}, 1, 2, 32, 64};
    const Values x = all_on_device(t, make_inputs(t.allocator, sizes, kSlow));
    int64_t inputs = 0;
    for (const Tensor& input : x) inputs += static_cast<int64_t>(input.storage_bytes());
    const Tensor o =
        ops::gated_delta_rule(t.ctx, x[0], x[1], x[2], x[3], x[4], make_documents({128}), kScale);
    const int64_t inverse = 2 * 2 * 64 * 64 * 8, corrected = 2 * 128 * 64 * 8;
    EXPECT_EQ(t.tape.saved_bytes(), inputs + inverse + corrected);
}

TEST(delta_rule, refuses_shapes_that_do_not_fit) {
    TestContext t;
    const auto run = [&](size_t which, const Shape& shape) {
        Values x = make_inputs(t.allocator, {{6}, 2, 4, 3, 3}, kSlow);
        if (which < 5) x[which] = Tensor::zeros(t.allocator, shape, DType::f64);
        ops::gated_delta_rule(t.ctx, x[0], x[1], x[2], x[3], x[4], make_documents({which == 5 ? 7 : 6}),
                              kScale);
    };
    run(6, {});
    EXPECT_THROW(run(0, {6, 2, 4}), InternalError);
    EXPECT_THROW(run(1, {6, 3, 3}), InternalError);
    EXPECT_THROW(run(2, {6, 5, 3}), InternalError);
    EXPECT_THROW(run(3, {6, 2}), InternalError);
    EXPECT_THROW(run(4, {5, 4}), InternalError);
    EXPECT_THROW(run(5, {}), InternalError);
}

} // namespace
} // namespace braid::testing

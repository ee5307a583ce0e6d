#include "ops/attention/attention.h"

#include <cmath>
#include <limits>
#include <numeric>

#include "tests/support/op_case.h"

namespace braid::testing {
namespace {

struct Sizes {
    std::vector<int32_t> documents;
    int64_t num_heads, num_kv_heads, key_size, value_size, window;

    int64_t tokens() const {
        int64_t sum = 0;
        for (const int32_t length : documents) sum += length;
        return sum;
    }
    ops::AttentionOptions options() const { return {1 / std::sqrt(static_cast<double>(key_size)), window}; }
    std::string text() const {
        std::string text;
        for (const int32_t length : documents) text += std::to_string(length) + " ";
        return text + "heads " + std::to_string(num_heads) + "/" + std::to_string(num_kv_heads) + " sizes " +
               std::to_string(key_size) + "," + std::to_string(value_size) + " window " +
               std::to_string(window);
    }
};

// One token, odd sizes, empty documents, several query and key blocks (128 keys; 16 to 128 queries), groups,
// windows smaller and larger than blocks and documents, values of another size than keys.
const std::vector<Sizes> kSizes = {
    {{1}, 1, 1, 1, 1, 0},           {{3, 0, 1, 5}, 2, 1, 4, 3, 0},     {{0, 7, 0}, 3, 3, 5, 5, 3},
    {{130, 1, 300}, 4, 2, 8, 8, 0}, {{257}, 6, 1, 3, 9, 40},           {{200, 150}, 2, 2, 8, 4, 1},
    {{290, 33}, 8, 2, 7, 5, 150},   {{129, 0, 70}, 32, 1, 4, 4, 1000},
};

struct Inputs {
    Tensor q, k, v;
};

Inputs random_inputs(Allocator& allocator, const Sizes& sizes, DType dtype, double scale = 1) {
    const int64_t tokens = sizes.tokens();
    return {random_tensor(allocator, {tokens, sizes.num_heads, sizes.key_size}, dtype, "q", scale),
            random_tensor(allocator, {tokens, sizes.num_kv_heads, sizes.key_size}, dtype, "k", scale),
            random_tensor(allocator, {tokens, sizes.num_kv_heads, sizes.value_size}, dtype, "v")};
}

/// Inputs where `t` computes.
Inputs there(TestContext& t, const Inputs& in) {
    Allocator& allocator = *t.ctx.allocator;
    return {to_device(allocator, in.q), to_device(allocator, in.k), to_device(allocator, in.v)};
}

/// Attention of inputs on the host, run where tests run; the result lies in t's memory of the host.
Tensor attend(TestContext& t, const Inputs& in, const DocumentsPtr& documents,
              const ops::AttentionOptions& options) {
    TestContext tested(test_device());
    const Inputs moved = there(tested, in);
    const Tensor o = ops::attention(tested.ctx, moved.q, moved.k, moved.v, documents, options);
    Tensor copied = Tensor::empty(t.allocator, o.shape(), o.dtype()); // o goes with its allocator
    copy(o, copied);
    return copied;
}

/// What the definition gives, a query at a time with the whole row of probabilities.
struct Plain {
    std::vector<double> o, max_logit, mean_entropy;
};

Plain plain_attention(const Sizes& sizes, const Inputs& in) {
    const auto q = to_vector(in.q), k = to_vector(in.k), v = to_vector(in.v);
    const auto at = [](const std::vector<double>& x, int64_t t, int64_t heads, int64_t h, int64_t size,
                       int64_t i) { return x[static_cast<size_t>((t * heads + h) * size + i)]; };
    const auto [scale, window] = sizes.options();
    Plain plain;
    plain.max_logit.assign(static_cast<size_t>(sizes.num_heads), -std::numeric_limits<double>::infinity());
    plain.mean_entropy.assign(static_cast<size_t>(sizes.num_heads), 0);
    int64_t begin = 0;
    for (const int64_t length : sizes.documents) {
        for (int64_t t = begin; t < begin + length; ++t)
            for (int64_t h = 0; h < sizes.num_heads; ++h) {
                const int64_t kv = h / (sizes.num_heads / sizes.num_kv_heads);
                std::vector<double> p(static_cast<size_t>(length), 0);
                double top = -std::numeric_limits<double>::infinity(), sum = 0;
                const auto visible = [&](int64_t s) { return s <= t && (window == 0 || s > t - window); };
                for (int64_t s = begin; s < begin + length; ++s)
                    if (visible(s)) {
                        double& logit = p[static_cast<size_t>(s - begin)];
                        for (int64_t i = 0; i < sizes.key_size; ++i)
                            logit += scale * at(q, t, sizes.num_heads, h, sizes.key_size, i) *
                                     at(k, s, sizes.num_kv_heads, kv, sizes.key_size, i);
                        top = std::max(top, logit);
                    }
                for (int64_t s = begin; s < begin + length; ++s) {
                    double& x = p[static_cast<size_t>(s - begin)];
                    x = visible(s) ? std::exp(x - top) : 0;
                    sum += x;
                }
                for (double& x : p) {
                    x /= sum;
                    if (x > 0)
                        plain.mean_entropy[static_cast<size_t>(h)] -=
                            x * std::log(x) / static_cast<double>(sizes.tokens());
                }
                plain.max_logit[static_cast<size_t>(h)] =
                    std::max(plain.max_logit[static_cast<size_t>(h)], top);
                for (int64_t i = 0; i < sizes.value_size; ++i) {
                    double o = 0;
                    for (int64_t s = begin; s < begin + length; ++s)
                        o += p[static_cast<size_t>(s - begin)] *
                             at(v, s, sizes.num_kv_heads, kv, sizes.value_size, i);
                    plain.o.push_back(o);
                }
            }
        begin += length;
    }
    return plain;
}

OpCase op_case(TestContext& t, const Sizes& sizes) {
    t.set_documents(sizes.documents);
    const Inputs in = random_inputs(t.allocator, sizes, DType::f64);
    OpCase op;
    op.name = "attention " + sizes.text();
    op.inputs = {in.q, in.k, in.v};
    op.forward = [documents = t.ctx.documents, options = sizes.options()](Context& ctx, const Values& x,
                                                                          const OpCase::Weights&) {
        return Values{ops::attention(ctx, x[0], x[1], x[2], documents, options)};
    };
    return op;
}

TEST(attention, matches_the_definition) {
    for (const Sizes& sizes : kSizes) {
        TestContext t;
        t.set_documents(sizes.documents);
        const Inputs in = random_inputs(t.allocator, sizes, DType::f64);
        const Tensor o = attend(t, in, t.ctx.documents, sizes.options());
        // Logits below 10 are exact to about 1e-15, and so relatively is each probability; the sums of at
        // most 300 of them add 300 * 1.1e-16.
        const Tensor expected = from_vector(t.allocator, o.shape(), DType::f64, plain_attention(sizes, in).o);
        expect_close(o, expected, 1e-13, sizes.text());
    }
}

TEST(attention, gradients) {
    GradientCheckOptions options;
    options.max_elements = 24;
    for (const Sizes& sizes : kSizes) {
        // dq and dk are zero but for rounding: a GPU's cannot be held against the CPU's
        if (sizes.window == 1 && test_device().kind != DeviceKind::cpu) continue;
        TestContext t;
        check_op_gradients(op_case(t, sizes), options);
    }
}

TEST(attention, f32_is_near_f64) {
    for (const Sizes& sizes : kSizes) {
        if (sizes.window == 1) continue; // dq and dk are zero but for rounding
        TestContext t;
        // Logits below 10 are off by 10 * 2^-23 or so, which the probabilities inherit; gradients are
        // products of three such factors.
        expect_f32_close_to_f64(op_case(t, sizes), 1e-5);
    }
}

/// How far o, dq, dk and dv in bf16 may be from those in f32, element by element, in units of one rounding.
/// Rounded are results; with tensor cores p and dS = p (dP - D), D = sum of o dO, before their products; and
/// o before it enters D:
///   |δo| <= Σ p |v| + |o|, |δD| <= Σ |δo| |dO|, |δdS| <= p |δD| + |dS|,
///   |δdq| <= scale Σ |δdS| |k| + |dq|, |δdk| <= scale Σ |δdS| |q| + |dk|, |δdv| <= Σ p |dO| + |dv|.
Bf16Bound bf16_bound(TestContext& t, const Sizes& sizes) {
    const auto rounded = [&](const Tensor& x) { return to_vector(converted(t.allocator, x, DType::bf16)); };
    const Inputs in = random_inputs(t.allocator, sizes, DType::f64);
    const auto q = rounded(in.q), k = rounded(in.k), v = rounded(in.v);
    const int64_t heads = sizes.num_heads, group = heads / sizes.num_kv_heads, dk = sizes.key_size,
                  dv = sizes.value_size;
    const auto d_o = rounded(random_tensor(t.allocator, {sizes.tokens(), heads, dv}, DType::f64,
                                           "attention " + sizes.text() + " output 0"));
    const auto [scale, window] = sizes.options();
    const auto row = [](auto& x, int64_t token, int64_t num_heads, int64_t head, int64_t size) {
        return x.data() + (token * num_heads + head) * size;
    };
    const auto dot = [](const double* a, const double* b, int64_t n) {
        return std::inner_product(a, a + n, b, 0.0);
    };
    std::vector<double> o(d_o.size()), dq(q.size()), dkeys(k.size()), dvalues(v.size()); // exact
    std::vector<double> eo(o.size()), eq(q.size()), ek(k.size()), ev(v.size());          // bounds of errors
    const auto add = [](double* sum, double* bound, double factor, double error, const double* x, int64_t n) {
        for (int64_t i = 0; i < n; ++i) {
            sum[i] += factor * x[i];
            bound[i] += error * std::abs(x[i]);
        }
    };
    int64_t begin = 0;
    for (const int64_t length : sizes.documents) {
        for (int64_t i = begin; i < begin + length; ++i)
            for (int64_t h = 0; h < heads; ++h) {
                const int64_t kv = h / group, first = window ? std::max(begin, i - window + 1) : begin;
                const auto key = [&](auto& x, int64_t j) { return row(x, j, sizes.num_kv_heads, kv, dk); };
                const auto value = [&](auto& x, int64_t j) { return row(x, j, sizes.num_kv_heads, kv, dv); };
                const double *query = row(q, i, heads, h, dk), *grad = row(d_o, i, heads, h, dv);
                double *out = row(o, i, heads, h, dv), *out_error = row(eo, i, heads, h, dv);
                std::vector<double> p;
                for (int64_t j = first; j <= i; ++j) p.push_back(std::exp(scale * dot(query, key(k, j), dk)));
                const double sum = std::accumulate(p.begin(), p.end(), 0.0);
                for (int64_t j = first; j <= i; ++j) {
                    double& x = p[static_cast<size_t>(j - first)];
                    x /= sum;
                    add(out, out_error, x, x, value(v, j), dv);
                    add(value(dvalues, j), value(ev, j), x, x, grad, dv);
                }
                double d_error = 0;
                for (int64_t c = 0; c < dv; ++c) {
                    out_error[c] += std::abs(out[c]);
                    d_error += out_error[c] * std::abs(grad[c]);
                }
                const double d = dot(out, grad, dv);
                for (int64_t j = first; j <= i; ++j) {
                    const double x = p[static_cast<size_t>(j - first)];
                    const double ds = x * (dot(grad, value(v, j), dv) - d);
                    const double error = scale * (x * d_error + std::abs(ds));
                    add(row(dq, i, heads, h, dk), row(eq, i, heads, h, dk), scale * ds, error, key(k, j), dk);
                    add(key(dkeys, j), key(ek, j), scale * ds, error, query, dk);
                }
            }
        begin += length;
    }
    const auto with_result = [](std::vector<double> bound, const std::vector<double>& result) {
        for (size_t i = 0; i < bound.size(); ++i) bound[i] += std::abs(result[i]);
        return bound;
    };
    return {.elements = {eo, with_result(eq, dq), with_result(ek, dkeys), with_result(ev, dvalues)}};
}

TEST(attention, bf16_is_near_f32) {
    for (const Sizes& sizes : kSizes) {
        TestContext t;
        expect_bf16_close_to_f32(op_case(t, sizes), bf16_bound(t, sizes));
    }
}

TEST(attention, same_bits_for_any_threads) {
    for (const Sizes& sizes : {Sizes{{700, 5, 130}, 4, 2, 16, 16, 0}, Sizes{{900}, 8, 1, 8, 8, 200}}) {
        TestContext t;
        expect_same_bits_for_any_threads(op_case(t, sizes));
    }
}

TEST(attention, documents_have_the_bits_they_have_alone) {
    TestContext t;
    const Sizes sizes{{130, 70, 0, 201}, 4, 2, 8, 8, 0};
    t.set_documents(sizes.documents);
    const Inputs in = random_inputs(t.allocator, sizes, DType::f32);
    const Tensor o = attend(t, in, t.ctx.documents, sizes.options());
    int64_t begin = 0;
    for (const int64_t length : sizes.documents) {
        const Tensor alone =
            attend(t, {in.q.rows(begin, length), in.k.rows(begin, length), in.v.rows(begin, length)},
                   Documents::single(length), sizes.options());
        expect_identical(alone, o.rows(begin, length), "document");
        begin += length;
    }
}

TEST(attention, a_window_beyond_the_document_changes_nothing) {
    TestContext t;
    Sizes sizes{{150, 180}, 4, 2, 8, 8, 0};
    t.set_documents(sizes.documents);
    const Inputs in = random_inputs(t.allocator, sizes, DType::f32);
    const Tensor all = attend(t, in, t.ctx.documents, sizes.options());
    for (const bool same : {true, false}) {
        sizes.window = same ? 180 : 179;
        const Tensor o = attend(t, in, t.ctx.documents, sizes.options());
        EXPECT_EQ(relative_error(o, all) == 0, same) << sizes.window;
    }
}

TEST(attention, reads_strided_rows) {
    TestContext t, tested(test_device());
    const int64_t tokens = 40, heads = 4, kv_heads = 2, size = 6;
    const Tensor wide =
        random_tensor(t.allocator, {tokens, (heads + 2 * kv_heads) * size + 5}, DType::f64, "wide");
    const Tensor moved = to_device(*tested.ctx.allocator, wide);
    const auto part = [&](const Tensor& wide, int64_t first, int64_t count) {
        return wide.columns(first * size + 5, count * size).view({tokens, count, size});
    };
    const auto parts = [&](const Tensor& wide) {
        return Values{part(wide, 0, heads), part(wide, heads, kv_heads),
                      part(wide, heads + kv_heads, kv_heads)};
    };
    const Values strided = parts(moved);
    const auto forward = [](Context& ctx, const Values& in) {
        return Values{ops::attention(ctx, in[0], in[1], in[2], Documents::single(40), {0.4, 9})};
    };
    Values packed;
    for (const Tensor& x : parts(wide))
        packed.push_back(to_device(*tested.ctx.allocator, converted(t.allocator, x, DType::f64)));
    const auto on_host = [&](const Tensor& x) { return to_device(t.allocator, x); };
    expect_identical(on_host(forward(tested.ctx, strided)[0]), on_host(forward(tested.ctx, packed)[0]),
                     "output");
    std::vector<Values> gradients(2);
    for (const bool from_strided : {false, true}) {
        const Segment segment("attention", 0, Segment::Policy::keep, forward);
        Segment::Saved saved;
        const Values& in = from_strided ? strided : packed;
        const Tensor o = segment.forward(tested.ctx, in, &saved)[0];
        Gradients table(*tested.ctx.allocator);
        table.add(o.ref(),
                  to_device(*tested.ctx.allocator, random_tensor(t.allocator, o.shape(), o.dtype(), "do")));
        segment.backward(tested.ctx, saved, table);
        for (const Tensor& x : in) gradients[from_strided].push_back(on_host(table.take(x.ref())));
    }
    for (size_t i = 0; i < 3; ++i) expect_identical(gradients[1][i], gradients[0][i], "gradient");
}

TEST(attention, large_logits_neither_overflow_nor_lose_the_softmax) {
    TestContext t;
    // Logits scale * 90^2 * 4 a step: exp of them overflows f32 and f64 by far. Key s points along axis s %
    // 4, query t along axis t % 4, so that query t sees equal logits at s = t, t - 4, ... and gives the mean
    // of v there.
    const int64_t tokens = 300;
    for (const DType dtype : {DType::f32, DType::f64}) {
        std::vector<double> axes(static_cast<size_t>(tokens * 4), 0);
        for (size_t s = 0; s < static_cast<size_t>(tokens); ++s) axes[s * 4 + s % 4] = 90;
        const Tensor q = from_vector(t.allocator, {tokens, 1, 4}, dtype, axes);
        const Tensor v = random_tensor(t.allocator, {tokens, 1, 3}, dtype, "v");
        const Tensor o = attend(t, {q, q, v}, Documents::single(tokens), {4, 0});
        const auto values = to_vector(v);
        std::vector<double> expected;
        for (int64_t row = 0; row < tokens; ++row)
            for (int64_t c = 0; c < 3; ++c) {
                double sum = 0;
                for (int64_t s = row; s >= 0; s -= 4) sum += values[static_cast<size_t>(s * 3 + c)];
                expected.push_back(sum / static_cast<double>(row / 4 + 1));
            }
        // sums of 75 terms
        expect_close(o, from_vector(t.allocator, o.shape(), DType::f64, expected),
                     75 * (dtype == DType::f32 ? 6e-8 : 1.2e-16), "large logits");
    }
}

TEST(attention, not_a_number_shows) {
    TestContext t;
    const Sizes sizes{{140}, 2, 1, 4, 4, 0};
    const Inputs in = random_inputs(t.allocator, sizes, DType::f32);
    in.k.data<float>()[100 * 4 + 1] = std::numeric_limits<float>::quiet_NaN();
    const auto o = to_vector(attend(t, in, Documents::single(140), sizes.options()));
    for (size_t i = 0; i < o.size(); ++i) EXPECT_EQ(std::isnan(o[i]), i / 8 >= 100) << i;
}

TEST(attention, memory_is_linear_in_the_sequence) {
    std::vector<int64_t> peaks;
    const bool on_cpu = test_device().kind == DeviceKind::cpu; // where scratch grows with the threads alone
    const int64_t longest = on_cpu ? 4096 : 1024;
    for (const int64_t tokens : {longest / 2, longest}) {
        TestContext t, tested(test_device());
        tested.ctx.tape = &tested.tape;
        const Sizes sizes{{static_cast<int32_t>(tokens)}, 2, 1, 8, 8, 0};
        const Inputs in = there(tested, random_inputs(t.allocator, sizes, DType::f32));
        const Tensor o =
            ops::attention(tested.ctx, in.q, in.k, in.v, Documents::single(tokens), sizes.options());
        Gradients gradients(*tested.ctx.allocator);
        gradients.add(o.ref(), o.detach());
        tested.ctx.tape = nullptr;
        tested.tape.backward(tested.ctx, gradients);
        peaks.push_back(tested.ctx.allocator->statistics().peak_used_bytes);
    }
    EXPECT_LT(peaks[1], 2 * peaks[0]);
    EXPECT_LT(peaks[1], longest * longest); // a byte per pair would be more
}

TEST(attention, last_queries_have_the_bits_of_the_whole) {
    for (const int64_t window : {0, 5, 100})
        for (const int64_t count : {1, 3, 200}) { // new tokens at once
            TestContext t;
            const Sizes sizes{{301}, 4, 2, 8, 6, window};
            const Inputs in = random_inputs(t.allocator, sizes, DType::f32);
            const Tensor whole = attend(t, in, Documents::single(301), sizes.options());
            TestContext tested(test_device());
            const Inputs moved = there(tested, in);
            for (int64_t known = count; known <= 301; known += count == 1 ? 25 : count) {
                const Tensor o =
                    ops::attention(tested.ctx, moved.q.rows(known - count, count), moved.k.rows(0, known),
                                   moved.v.rows(0, known), Documents::single(count), Documents::single(known),
                                   sizes.options());
                expect_identical(to_device(t.allocator, o), whole.rows(known - count, count), "decode");
            }
        }
}

void check_statistics(const Sizes& sizes, DType dtype, double bound) {
    TestContext t;
    t.set_documents(sizes.documents);
    const Inputs in = random_inputs(t.allocator, sizes, dtype, 1.5);
    TestContext tested(test_device());
    const Inputs moved = there(tested, in);
    const auto found =
        ops::attention_statistics(tested.ctx, moved.q, moved.k, t.ctx.documents, sizes.options());
    const Plain plain = plain_attention(sizes, in);
    const auto max_logit = to_vector(to_device(t.allocator, found.max_logit)),
               entropy = to_vector(to_device(t.allocator, found.mean_entropy));
    for (size_t h = 0; h < max_logit.size(); ++h) {
        EXPECT_NEAR(max_logit[h], plain.max_logit[h], bound) << sizes.text();
        EXPECT_NEAR(entropy[h], plain.mean_entropy[h], 10 * bound) << sizes.text();
    }
}

TEST(attention, statistics_match_the_definition) {
    // logits below 30 in the type of q
    for (const Sizes& sizes : kSizes) {
        check_statistics(sizes, DType::f64, 1e-13);
        check_statistics(sizes, DType::f32, 30 * 1.2e-7);
    }
}

// Sums of 400 products in f32, none of whose parts is above 10; entropies are of such logits.
TEST(attention, statistics_of_wide_heads) {
    for (const DType dtype : {DType::f32, DType::bf16})
        check_statistics({{1, 66}, 2, 1, 400, 4, 0}, dtype, 400 * 6e-8 * 10);
    check_statistics({{3, 35}, 1, 1, 5, 4, 0}, DType::bf16, 30 * 1.2e-7);
}

TEST(attention, no_tokens_give_empty_results) {
    TestContext host, t(test_device());
    t.set_documents({0, 0});
    const Sizes sizes{{0, 0}, 2, 1, 4, 3, 0};
    const Inputs in = there(t, random_inputs(host.allocator, sizes, DType::f32));
    const auto found = ops::attention_statistics(t.ctx, in.q, in.k, t.ctx.documents, sizes.options());
    EXPECT_EQ(to_vector(to_device(host.allocator, found.mean_entropy)), (std::vector<double>{0, 0}));
    t.ctx.tape = &t.tape;
    const Tensor o = ops::attention(t.ctx, in.q, in.k, in.v, t.ctx.documents, sizes.options());
    EXPECT_EQ(o.shape(), (Shape{0, 2, 3}));
    Gradients gradients(*t.ctx.allocator);
    gradients.add(o.ref(), o.detach());
    t.ctx.tape = nullptr;
    t.tape.backward(t.ctx, gradients);
    EXPECT_EQ(gradients.take(in.v.ref()).shape(), (Shape{0, 1, 3}));
}

TEST(attention, heads_of_256_and_of_odd_sizes) {
    // Large heads take smaller tiles on a GPU.
    for (const Sizes& sizes : {Sizes{{90, 40}, 2, 1, 256, 256, 0}, Sizes{{70}, 3, 1, 193, 61, 30}}) {
        TestContext t;
        expect_bf16_close_to_f32(op_case(t, sizes), bf16_bound(t, sizes));
        expect_f32_close_to_f64(op_case(t, sizes), 1e-5);
    }
}

// A GPU's tensor cores take heads in tiles of 64, 128, 192 and 128, or 256; what is larger goes to kernels
// that widen bf16, with tiles of as many rows as fit.
void check_bf16(const std::vector<Sizes>& all) {
    for (const Sizes& sizes : all) {
        TestContext t;
        expect_bf16_close_to_f32(op_case(t, sizes), bf16_bound(t, sizes));
    }
}

TEST(attention, heads_of_128_in_bf16) {
    check_bf16({{{1, 66, 0, 3}, 2, 1, 128, 128, 0}, {{65}, 1, 1, 100, 128, 33}});
}

TEST(attention, heads_of_192_and_128_in_bf16) {
    check_bf16({{{1, 66}, 1, 1, 192, 128, 0}, {{40}, 2, 1, 160, 121, 20}});
}

TEST(attention, heads_beyond_tensor_cores_in_bf16) {
    check_bf16({{{1, 40}, 2, 1, 257, 8, 0}, {{45}, 1, 1, 288, 288, 20}});
}

TEST(attention, wide_heads_in_f32) {
    TestContext t;
    expect_f32_close_to_f64(op_case(t, {{1, 40}, 2, 1, 288, 288, 0}), 1e-5); // as f32_is_near_f64
}

TEST(attention, wide_heads_in_f64) {
    GradientCheckOptions options;
    options.max_elements = 8;
    TestContext t;
    check_op_gradients(op_case(t, {{1, 36}, 1, 1, 208, 208, 0}), options);
    check_statistics({{20}, 1, 1, 400, 4, 0}, DType::f64, 400 * 1.2e-16 * 10); // as statistics_of_wide_heads
}

TEST(attention, refuses_shapes_that_do_not_fit) {
    TestContext t;
    const auto make = [&](int64_t tokens, int64_t heads, int64_t size) {
        return random_tensor(t.allocator, {tokens, heads, size}, DType::f32, "x");
    };
    const DocumentsPtr documents = Documents::single(5);
    const auto run = [&](const Tensor& q, const Tensor& k, const Tensor& v) {
        ops::attention(t.ctx, q, k, v, documents, {});
    };
    run(make(5, 4, 3), make(5, 2, 3), make(5, 2, 7));
    EXPECT_THROW(run(make(4, 4, 3), make(4, 2, 3), make(4, 2, 3)), InternalError); // documents of 5
    EXPECT_THROW(run(make(5, 3, 3), make(5, 2, 3), make(5, 2, 3)), InternalError); // 3 heads over 2
    EXPECT_THROW(run(make(5, 4, 3), make(5, 2, 4), make(5, 2, 3)), InternalError); // sizes of q and k
    EXPECT_THROW(run(make(5, 4, 3), make(5, 2, 3), make(5, 4, 3)), InternalError); // heads of k and v
    const auto behind = [&](const DocumentsPtr& queries, const DocumentsPtr& keys) {
        ops::attention(t.ctx, make(queries->num_tokens(), 2, 3), make(keys->num_tokens(), 2, 3),
                       make(keys->num_tokens(), 2, 3), queries, keys, {});
    };
    behind(documents, Documents::single(7));
    EXPECT_THROW(behind(Documents::single(6), documents), InternalError); // fewer keys than queries
    EXPECT_THROW(behind(documents, std::make_shared<Documents>(Documents{{0, 2, 5}, 1})), InternalError);
}

} // namespace
} // namespace braid::testing

#include "ops/moe/routing.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "tests/support/op_case.h"

namespace braid::testing {
namespace {

using ops::RoutingOptions;
using ops::RoutingScore;

const RoutingOptions kRoutingOptions[] = {{RoutingScore::softmax, true, 1, 2},
                                          {RoutingScore::softmax, false, 1.5, 3},
                                          {RoutingScore::sigmoid, true, 2.446, 2},
                                          {RoutingScore::sigmoid, false, 1, 1}};

OpCase route_case(Allocator& allocator, int64_t tokens, int64_t experts, const RoutingOptions& options,
                  bool biased) {
    const Tensor bias = biased ? random_tensor(allocator, {experts}, DType::f64, "bias") : Tensor();
    return {"route",
            {},
            {random_tensor(allocator, {tokens, experts}, DType::f64, "logits")},
            [=](Context& ctx, const Values& x, const OpCase::Weights&) {
                const auto routing =
                    ops::route(ctx, x[0], bias.defined() ? to_device(*ctx.allocator, bias) : bias, options);
                return Values{routing.expert, routing.weight, routing.probabilities};
            }};
}

/// Sorts all experts instead of picking one after the other.
std::vector<int> best_experts(const std::vector<double>& score, size_t k) {
    std::vector<int> order(score.size());
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(), [&](int a, int b) {
        return score[static_cast<size_t>(a)] > score[static_cast<size_t>(b)];
    });
    order.resize(k);
    return order;
}

TEST(routing, gradients) {
    TestContext t;
    for (const RoutingOptions& options : kRoutingOptions)
        for (const bool biased : {false, true}) {
            check_op_gradients(route_case(t.allocator, 7, 5, options, biased));
            check_op_gradients(route_case(t.allocator, 1, options.k, options, biased));
            check_op_gradients(route_case(t.allocator, 0, 4, options, biased));
        }
}

TEST(routing, matches_the_definition) {
    TestContext t(test_device());
    for (const RoutingOptions& options : kRoutingOptions) {
        const OpCase op = route_case(t.allocator, 30, 9, options, true);
        const Values results = run_op(op, t, DType::f64);
        const auto logits = to_vector(op.inputs[0]), expert = to_vector(results[0]),
                   weight = to_vector(results[1]);
        const auto bias = to_vector(random_tensor(t.allocator, {9}, DType::f64, "bias"));
        const auto k = static_cast<size_t>(options.k);
        for (size_t i = 0; i < 30; ++i) {
            std::vector<double> p(9), score(9);
            double total = 0, chosen = 0;
            for (size_t e = 0; e < 9; ++e) total += std::exp(logits[i * 9 + e]);
            for (size_t e = 0; e < 9; ++e) {
                const double x = logits[i * 9 + e];
                p[e] = options.score == RoutingScore::softmax ? std::exp(x) / total : 1 / (1 + std::exp(-x));
                score[e] = p[e] + bias[e];
            }
            const auto best = best_experts(score, k);
            for (const int e : best) chosen += p[static_cast<size_t>(e)];
            for (size_t j = 0; j < k; ++j) {
                EXPECT_EQ(expert[i * k + j], best[j]);
                const double expected =
                    options.scale * p[static_cast<size_t>(best[j])] / (options.normalize ? chosen : 1);
                EXPECT_NEAR(weight[i * k + j], expected, 1e-14); // a few roundings of numbers below three
            }
        }
    }
}

TEST(routing, ties_go_to_the_lower_expert) {
    TestContext t(test_device());
    const auto chosen = [&](const Tensor& logits, int64_t k) {
        return values_of(
            t, ops::route(t.ctx, on_device(t, logits), {}, {RoutingScore::softmax, true, 1, k}).expert);
    };
    EXPECT_EQ(chosen(from_vector(t.allocator, {2, 5}, DType::f32, {1, 1, 1, 1, 1, 0, 2, 1, 2, 2}), 4),
              (std::vector<double>{0, 1, 2, 3, 1, 3, 4, 2}));
    std::vector<double> all(70);
    std::iota(all.begin(), all.end(), 0);
    EXPECT_EQ(chosen(from_vector(t.allocator, {1, 70}, DType::f32, std::vector<double>(70, 0.5)), 70), all);
}

TEST(routing, choices_stay_valid_when_logits_do_not) {
    TestContext t(test_device());
    const double nan = std::nan("");
    const Tensor logits = from_vector(t.allocator, {2, 3}, DType::f32, {nan, nan, nan, 1, nan, 2});
    for (const auto score : {RoutingScore::softmax, RoutingScore::sigmoid}) {
        const auto routing = ops::route(t.ctx, on_device(t, logits), {}, {score, true, 1, 3});
        auto expert = values_of(t, routing.expert);
        std::sort(expert.begin(), expert.begin() + 3);
        std::sort(expert.begin() + 3, expert.end());
        EXPECT_EQ(expert, (std::vector<double>{0, 1, 2, 0, 1, 2}));
        EXPECT_TRUE(std::isnan(values_of(t, routing.weight)[0])); // and the error is not hidden
    }
}

TEST(routing, refuses_more_experts_than_there_are) {
    TestContext t;
    const Tensor logits = random_tensor(t.allocator, {2, 3}, DType::f32, "logits");
    EXPECT_THROW(ops::route(t.ctx, logits, {}, {RoutingScore::softmax, true, 1, 4}), InternalError);
    EXPECT_THROW(ops::route(t.ctx, logits, random_tensor(t.allocator, {4}, DType::f32, "b"), {}),
                 InternalError);
}

/// The experts that route() chooses last instead of first, on the host.
Tensor worst_experts(TestContext& t, const Tensor& logits, const RoutingOptions& options) {
    RoutingOptions all = options;
    all.k = logits.dim(1);
    const auto order = values_of(t, ops::route(t.ctx, on_device(t, logits), {}, all).expert);
    Tensor worst = Tensor::empty(t.allocator, {logits.dim(0), options.k}, DType::i32);
    for (int64_t i = 0; i < logits.dim(0); ++i)
        for (int64_t j = 0; j < options.k; ++j)
            worst.data<int32_t>()[i * options.k + j] =
                static_cast<int32_t>(order[static_cast<size_t>((i + 1) * all.k - options.k + j)]);
    return worst;
}

TEST(routing, given_experts_are_weighed_by_their_own_scores) {
    TestContext t(test_device());
    for (const RoutingOptions& options : kRoutingOptions) {
        const Tensor logits = random_tensor(t.allocator, {7, 6}, DType::f64, "logits");
        const Tensor given = worst_experts(t, logits, options);
        const auto routing = ops::route(t.ctx, on_device(t, logits), {}, options, on_device(t, given));
        expect_identical(to_device(t.allocator, routing.expert), given, "experts");
        EXPECT_EQ(routing.num_flips, 7); // k is at most half of the experts
        const auto probabilities = values_of(t, routing.probabilities), weight = values_of(t, routing.weight);
        for (int64_t i = 0; i < 7; ++i) {
            const double* p = probabilities.data() + i * 6;
            double total = 0;
            for (int64_t j = 0; j < options.k; ++j) total += p[given.data<int32_t>()[i * options.k + j]];
            for (int64_t j = 0; j < options.k; ++j)
                EXPECT_NEAR(weight[static_cast<size_t>(i * options.k + j)],
                            options.scale * p[given.data<int32_t>()[i * options.k + j]] /
                                (options.normalize ? total : 1),
                            1e-14); // a few roundings of numbers below three
        }
        check_op_gradients(
            {"route", {}, {logits}, [=](Context& ctx, const Values& x, const OpCase::Weights&) {
                 const auto chosen = ops::route(ctx, x[0], {}, options, to_device(*ctx.allocator, given));
                 return Values{chosen.expert, chosen.weight, chosen.probabilities};
             }});
    }
}

TEST(routing, given_experts_in_another_order_are_no_flip) {
    TestContext t(test_device());
    const RoutingOptions options{RoutingScore::softmax, true, 1, 2};
    const Tensor logits =
        on_device(t, from_vector(t.allocator, {3, 4}, DType::f32, {1, 4, 3, 0, 0, 1, 2, 3, 9, 0, 0, 8}));
    const Tensor given = on_device(t, from_vector(t.allocator, {3, 2}, DType::i32, {2, 1, 3, 2, 0, 1}));
    EXPECT_EQ(ops::route(t.ctx, logits, {}, options, given).num_flips, 1); // of the last token
    EXPECT_EQ(ops::route(t.ctx, logits, {}, options).num_flips, 0);
}

TEST(routing, refuses_given_experts_that_do_not_exist) {
    TestContext t(test_device());
    const Tensor logits = on_device(t, random_tensor(t.allocator, {1, 3}, DType::f32, "logits"));
    const auto route = [&](const std::vector<double>& given) {
        const Shape shape{1, static_cast<int64_t>(given.size())};
        return ops::route(t.ctx, logits, {}, {RoutingScore::softmax, true, 1, 2},
                          on_device(t, from_vector(t.allocator, shape, DType::i32, given)));
    };
    EXPECT_NO_THROW(route({0, 2}));
    for (const double expert : {-1, 3}) EXPECT_THROW(route({0, expert}), InternalError);
    EXPECT_THROW(route({0}), InternalError);
}

TEST(routing, f32_and_threads) {
    TestContext t;
    for (const RoutingOptions& options : kRoutingOptions) {
        const OpCase op = route_case(t.allocator, 300, 33, options, true);
        // sums over 33 experts and a dozen roundings; choices of f32 and f64 agree as no two scores are that
        // close
        expect_f32_close_to_f64(op, 60 * std::numeric_limits<float>::epsilon());
        expect_same_bits_for_any_threads(op);
    }
}

OpCase losses_case(Allocator& allocator, int64_t sequences, int64_t length, int64_t experts,
                   RoutingScore score) {
    auto documents = std::make_shared<Documents>();
    for (int64_t s = 0; s <= sequences; ++s) documents->offsets.push_back(static_cast<int32_t>(s * length));
    documents->num_sequences = sequences;
    const Tensor fractions = random_tensor(allocator, {experts}, DType::f64, "fractions", 0.1, 1);
    return {
        "losses",
        {},
        {random_tensor(allocator, {sequences * length, experts}, DType::f64, "logits")},
        [=](Context& ctx, const Values& x, const OpCase::Weights&) {
            const auto routing = ops::route(ctx, x[0], {}, {score, true, 1, std::min<int64_t>(2, experts)});
            const Tensor counts = ops::count_experts_by_sequence(ctx, routing.expert, experts, *documents);
            return Values{ops::balance_loss_sequence(ctx, routing.probabilities, counts,
                                                     routing.expert.dim(1), *documents),
                          ops::balance_loss_given_fractions(ctx, routing.probabilities,
                                                            to_device(*ctx.allocator, fractions)),
                          ops::router_z_loss(ctx, x[0])};
        }};
}

TEST(routing_losses, gradients) {
    TestContext t;
    for (const auto score : {RoutingScore::softmax, RoutingScore::sigmoid}) {
        check_op_gradients(losses_case(t.allocator, 3, 4, 5, score));
        check_op_gradients(losses_case(t.allocator, 1, 1, 1, score));
        check_op_gradients(losses_case(t.allocator, 2, 0, 3, score));
    }
}

TEST(routing_losses, match_the_definitions) {
    TestContext t(test_device());
    const size_t sequences = 2, length = 9, experts = 4;
    for (const auto score : {RoutingScore::softmax, RoutingScore::sigmoid}) {
        const OpCase op = losses_case(t.allocator, sequences, length, experts, score);
        const Values results = run_op(op, t, DType::f64);
        const auto x = to_vector(op.inputs[0]);
        const auto fractions = to_vector(random_tensor(t.allocator, {4}, DType::f64, "fractions", 0.1, 1));
        double balance = 0, given = 0, z_loss = 0;
        for (size_t s = 0; s < sequences; ++s) {
            std::vector<double> mean(experts), share(experts);
            for (size_t i = s * length; i < (s + 1) * length; ++i) {
                std::vector<double> p(experts);
                double lse = 0, total = 0;
                for (size_t e = 0; e < experts; ++e) {
                    const double logit = x[i * experts + e];
                    lse += std::exp(logit);
                    total += p[e] =
                        score == RoutingScore::softmax ? std::exp(logit) : 1 / (1 + std::exp(-logit));
                }
                z_loss += std::log(lse) * std::log(lse);
                for (size_t e = 0; e < experts; ++e) {
                    mean[e] += p[e] / total / length;
                    given += experts * fractions[e] * p[e] / total;
                }
                for (const int e : best_experts(p, 2)) share[static_cast<size_t>(e)] += 1 / (2.0 * length);
            }
            for (size_t e = 0; e < experts; ++e) balance += experts * share[e] * mean[e];
        }
        // sums of a hundred terms of size one
        EXPECT_NEAR(to_vector(results[0])[0], balance, 1e-12);
        EXPECT_NEAR(to_vector(results[1])[0], given, 1e-12);
        EXPECT_NEAR(to_vector(results[2])[0], z_loss, 1e-12);
    }
}

// Sums over 90 tokens of terms that a dozen roundings and sums over 9 experts make.
TEST(routing_losses, f32_is_near_f64) {
    TestContext t;
    for (const auto score : {RoutingScore::softmax, RoutingScore::sigmoid}) {
        expect_f32_close_to_f64(losses_case(t.allocator, 3, 30, 9, score),
                                111 * std::numeric_limits<float>::epsilon());
        expect_same_bits_for_any_threads(losses_case(t.allocator, 1, 1, 4, score));
    }
}

TEST(routing_losses, balanced_is_one) {
    TestContext t(test_device());
    t.set_documents({2, 2}, 2);
    const Tensor p = on_device(t, from_vector(t.allocator, {4, 2}, DType::f64, {1, 1, 1, 1, 1, 1, 1, 1}));
    const Tensor expert = on_device(t, from_vector(t.allocator, {4, 1}, DType::i32, {0, 1, 1, 0}));
    const Tensor counts = ops::count_experts_by_sequence(t.ctx, expert, 2, *t.ctx.documents);
    EXPECT_NEAR(values_of(t, ops::balance_loss_sequence(t.ctx, p, counts, 1, *t.ctx.documents))[0], 2, 1e-15);
    const Tensor half = on_device(t, from_vector(t.allocator, {2}, DType::f64, {0.5, 0.5}));
    EXPECT_NEAR(values_of(t, ops::balance_loss_given_fractions(t.ctx, p, half))[0], 4, 1e-15);
}

TEST(router_bias, counts_and_steps_by_the_sign) {
    TestContext t(test_device());
    const auto integers = [&](const Shape& shape, DType dtype, const std::vector<double>& values) {
        return on_device(t, from_vector(t.allocator, shape, dtype, values));
    };
    const Tensor expert = integers({4, 2}, DType::i32, {0, 1, 0, 2, 0, 1, 4, 3});
    EXPECT_EQ(values_of(t, ops::count_experts(t.ctx, expert, 6)), (std::vector<double>{3, 2, 1, 1, 1, 0}));
    const Tensor four = integers({4}, DType::i64, {3, 2, 1, 2}); // the mean is 2
    for (const DType dtype : {DType::f32, DType::f64}) {
        const Tensor bias = on_device(t, from_vector(t.allocator, {4}, dtype, {0.5, 0.5, 0.5, 0.5}));
        ops::update_router_bias(bias, four, 0.25);
        EXPECT_EQ(values_of(t, bias), (std::vector<double>{0.25, 0.5, 0.75, 0.5}));
    }
}

} // namespace
} // namespace braid::testing

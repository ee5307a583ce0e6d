// Experts chosen in a token's best groups only; what holds for any choice is in routing_test.cpp.

#include <algorithm>
#include <cmath>
#include <numeric>

#include "ops/moe/routing.h"
#include "tests/support/op_case.h"

namespace braid::testing {
namespace {

using ops::RoutingGroupScore;
using ops::RoutingOptions;
using ops::RoutingScore;

/// So many experts, routed so.
struct GroupsCase {
    int64_t experts;
    RoutingOptions options;
};

constexpr auto kTop2Sum = RoutingGroupScore::top2_sum;
constexpr auto kMax = RoutingGroupScore::max;

const GroupsCase kCases[] = {
    {8, {RoutingScore::sigmoid, true, 2.5, 3, 4, 2, kTop2Sum}},
    {8, {RoutingScore::softmax, true, 1, 3, 4, 2, kMax}},
    {12, {RoutingScore::sigmoid, false, 1, 4, 3, 1, kTop2Sum}},  // all of the best group
    {6, {RoutingScore::softmax, false, 1.5, 2, 6, 3, kMax}},     // groups of one
    {6, {RoutingScore::softmax, true, 1, 3, 2, 2, kTop2Sum}},    // all groups are kept
    {4, {RoutingScore::sigmoid, true, 1, 1, 2, 1, kMax}},        // one expert
    {160, {RoutingScore::softmax, true, 16, 6, 40, 3, kMax}},    // more groups than a warp has lanes
    {140, {RoutingScore::sigmoid, true, 1, 8, 2, 1, kTop2Sum}}}; // and groups of more experts

std::string name_of(const GroupsCase& c) {
    return fmt::format("{} of {} experts in {} of {} groups", c.options.k, c.experts, c.options.group_topk,
                       c.options.num_groups);
}

Tensor bias_of(Allocator& allocator, const GroupsCase& c) {
    return random_tensor(allocator, {c.experts}, DType::f64, "bias");
}

OpCase case_of(Allocator& allocator, int64_t tokens, const GroupsCase& c) {
    const Tensor bias = bias_of(allocator, c);
    return {"route",
            {},
            {random_tensor(allocator, {tokens, c.experts}, DType::f64, "logits")},
            [bias, options = c.options](Context& ctx, const Values& x, const OpCase::Weights&) {
                const auto routing = ops::route(ctx, x[0], to_device(*ctx.allocator, bias), options);
                return Values{routing.expert, routing.weight, routing.probabilities};
            }};
}

/// Whether place i of `scores` is among the `count` best, equal scores in order of place: counts those before
/// it.
bool is_chosen(const std::vector<double>& scores, size_t i, int64_t count) {
    int64_t before = 0;
    for (size_t j = 0; j < scores.size(); ++j)
        before += scores[j] > scores[i] || (scores[j] == scores[i] && j < i);
    return before < count;
}

/// A token's experts by the definition, best first.
std::vector<int> chosen_experts(const std::vector<double>& score, const RoutingOptions& options) {
    const auto groups = static_cast<size_t>(options.num_groups), size = score.size() / groups;
    std::vector<double> group_score;
    for (size_t g = 0; g < groups; ++g) {
        double best = -HUGE_VAL; // of one expert, or of any two
        for (size_t i = g * size; i < (g + 1) * size; ++i) {
            if (options.group_score == kMax) best = std::max(best, score[i]);
            for (size_t j = g * size; j < i && options.group_score == kTop2Sum; ++j)
                best = std::max(best, score[i] + score[j]);
        }
        group_score.push_back(best);
    }
    std::vector<int> experts;
    for (size_t e = 0; e < score.size(); ++e)
        if (is_chosen(group_score, e / size, options.group_topk)) experts.push_back(static_cast<int>(e));
    std::stable_sort(experts.begin(), experts.end(), [&](int a, int b) {
        return score[static_cast<size_t>(a)] > score[static_cast<size_t>(b)];
    });
    experts.resize(static_cast<size_t>(options.k));
    return experts;
}

/// Of logits of one token, in f32 and without a bias.
std::vector<double> experts_of(TestContext& t, const std::vector<double>& logits,
                               const RoutingOptions& options) {
    const Shape shape{1, static_cast<int64_t>(logits.size())};
    const Tensor x = to_device(*t.ctx.allocator, from_vector(t.allocator, shape, DType::f32, logits));
    return to_vector(to_device(t.allocator, ops::route(t.ctx, x, {}, options).expert));
}

RoutingOptions options_of(int64_t k, int64_t num_groups, int64_t group_topk, RoutingGroupScore kind) {
    return {RoutingScore::sigmoid, true, 1, k, num_groups, group_topk, kind};
}

TEST(routing_groups, gradients) {
    TestContext t;
    for (const GroupsCase& c : kCases)
        for (const int64_t tokens : {7, 1, 0})
            if (c.experts < 100 || tokens == 1) check_op_gradients(case_of(t.allocator, tokens, c));
}

TEST(routing_groups, match_the_definition) {
    TestContext t(test_device());
    for (const GroupsCase& c : kCases) {
        const int64_t tokens = 40;
        const Values results = run_op(case_of(t.allocator, tokens, c), t, DType::f64);
        const auto expert = to_vector(results[0]), weight = to_vector(results[1]), p = to_vector(results[2]),
                   bias = to_vector(bias_of(t.allocator, c));
        const auto k = static_cast<size_t>(c.options.k), experts = bias.size();
        int64_t num_limited = 0;
        for (size_t i = 0; i < static_cast<size_t>(tokens); ++i) {
            std::vector<double> score(experts);
            for (size_t e = 0; e < experts; ++e) score[e] = p[i * experts + e] + bias[e];
            const auto expected = chosen_experts(score, c.options);
            RoutingOptions among_all = c.options;
            among_all.num_groups = among_all.group_topk = 1;
            among_all.group_score = kMax;
            num_limited += expected != chosen_experts(score, among_all);
            double total = 0;
            for (const int e : expected) total += p[i * experts + static_cast<size_t>(e)];
            for (size_t j = 0; j < k; ++j) {
                EXPECT_EQ(expert[i * k + j], expected[j]) << name_of(c) << ", token " << i;
                // The choice is all that groups change. A few roundings of numbers below scale.
                EXPECT_NEAR(weight[i * k + j],
                            c.options.scale * p[i * experts + static_cast<size_t>(expected[j])] /
                                (c.options.normalize ? total : 1),
                            1e-14 * c.options.scale);
            }
        }
        // So many best experts are in as many groups, which are then those with the best experts.
        const bool is_no_limit = c.options.group_topk == c.options.num_groups ||
                                 (c.options.group_score == kMax && c.options.k <= c.options.group_topk);
        if (is_no_limit)
            EXPECT_EQ(num_limited, 0) << name_of(c);
        else
            EXPECT_GT(num_limited, 0) << name_of(c) << ": nothing was tested";
    }
}

TEST(routing_groups, keeping_all_or_having_one_gives_the_bits_of_no_groups) {
    TestContext t(test_device());
    for (const RoutingScore score : {RoutingScore::softmax, RoutingScore::sigmoid}) {
        const GroupsCase plain{12, {score, true, 1, 5}};
        const Values expected = run_op(case_of(t.allocator, 9, plain), t, DType::f32);
        for (const int64_t groups : {1, 2, 6})
            for (const RoutingGroupScore kind : {kTop2Sum, kMax}) {
                const GroupsCase all{12, {score, true, 1, 5, groups, groups, kind}};
                const Values found = run_op(case_of(t.allocator, 9, all), t, DType::f32);
                ASSERT_EQ(found.size(), expected.size());
                for (size_t i = 0; i < found.size(); ++i)
                    expect_identical(found[i], expected[i], name_of(all));
            }
    }
}

TEST(routing_groups, are_neighbours_scored_by_two_or_by_one) {
    TestContext t(test_device());
    const std::vector<double> logits{3, -9, 1, 2, 0, 0}; // groups of two: the best expert, or the best two
    EXPECT_EQ(experts_of(t, logits, options_of(2, 3, 1, kMax)), (std::vector<double>{0, 1}));
    EXPECT_EQ(experts_of(t, logits, options_of(2, 3, 1, kTop2Sum)), (std::vector<double>{3, 2}));
    EXPECT_EQ(experts_of(t, logits, options_of(3, 3, 2, kTop2Sum)), (std::vector<double>{3, 2, 4}));
    EXPECT_EQ(experts_of(t, logits, options_of(2, 2, 1, kTop2Sum)), (std::vector<double>{0, 2})); // of three
}

TEST(routing_groups, experts_of_others_are_never_chosen) {
    TestContext t(test_device());
    // Scores below zero, where those of other groups would win if they were zero.
    const Tensor logits =
        to_device(*t.ctx.allocator, from_vector(t.allocator, {1, 6}, DType::f64, {-1, -2, -3, -4, -5, -6}));
    const Tensor bias =
        to_device(*t.ctx.allocator, from_vector(t.allocator, {6}, DType::f64, {-5, -7, -6, -6.5, -9, -9}));
    const auto routing = ops::route(t.ctx, logits, bias, options_of(2, 3, 1, kMax));
    EXPECT_EQ(to_vector(to_device(t.allocator, routing.expert)), (std::vector<double>{0, 1}));
}

TEST(routing_groups, ties_go_to_the_lower_group_and_the_lower_expert) {
    TestContext t(test_device());
    for (const RoutingGroupScore kind : {kTop2Sum, kMax}) {
        EXPECT_EQ(experts_of(t, std::vector<double>(8, 0.5), options_of(4, 4, 2, kind)),
                  (std::vector<double>{0, 1, 2, 3}));
        EXPECT_EQ(experts_of(t, {0, 0, 1, 1, 2, 2, 1, 1}, options_of(4, 4, 2, kind)),
                  (std::vector<double>{4, 5, 2, 3}));
        std::vector<double> first(70);
        std::iota(first.begin(), first.end(), 0);
        EXPECT_EQ(experts_of(t, std::vector<double>(140, -1), options_of(70, 70, 35, kind)), first);
    }
}

TEST(routing_groups, choices_stay_valid_when_logits_do_not) {
    TestContext t(test_device());
    const double nan = std::nan("");
    for (const RoutingGroupScore kind : {kTop2Sum, kMax}) {
        for (const auto& logits : {std::vector<double>(6, nan), {nan, 1, nan, 2, nan, 3}}) {
            auto experts = experts_of(t, logits, options_of(4, 3, 2, kind));
            std::sort(experts.begin(), experts.end());
            EXPECT_TRUE(std::unique(experts.begin(), experts.end()) == experts.end());
            EXPECT_GE(experts.front(), 0);
            EXPECT_LT(experts.back(), 6);
        }
        // Groups without a number come last, and so do experts in a group.
        EXPECT_EQ(experts_of(t, {nan, nan, -1, -2, nan, nan}, options_of(2, 3, 1, kind)),
                  (std::vector<double>{2, 3}));
        EXPECT_EQ(experts_of(t, {nan, 4, nan, 5, 2, nan, 1, 1}, options_of(4, 2, 1, kMax)),
                  (std::vector<double>{3, 1, 0, 2}));
    }
}

TEST(routing_groups, given_experts_may_be_of_any_group) {
    TestContext t(test_device());
    const RoutingOptions options = options_of(2, 3, 1, kMax);
    const auto tensor = [&](const Shape& shape, DType dtype, const std::vector<double>& values) {
        return to_device(*t.ctx.allocator, from_vector(t.allocator, shape, dtype, values));
    };
    const Tensor logits = tensor({2, 6}, DType::f32, {3, 2, 1, 0, 0, 0, 0, 0, 0, 0, 2, 1});
    const Tensor given = tensor({2, 2}, DType::i32, {0, 2, 5, 4}); // the second token's own, the other way
    const auto routing = ops::route(t.ctx, logits, {}, options, given);
    EXPECT_EQ(to_vector(to_device(t.allocator, routing.expert)), (std::vector<double>{0, 2, 5, 4}));
    EXPECT_EQ(routing.num_flips, 1);
}

TEST(routing_groups, refuse_what_does_not_fit) {
    TestContext t(test_device());
    const auto choose = [&](const RoutingOptions& options) { experts_of(t, {1, 2, 3, 4, 5, 6}, options); };
    EXPECT_NO_THROW(choose(options_of(2, 3, 1, kTop2Sum)));
    EXPECT_THROW(choose(options_of(2, 4, 2, kMax)), InternalError);     // no equal groups
    EXPECT_THROW(choose(options_of(2, 0, 1, kMax)), InternalError);     // none
    EXPECT_THROW(choose(options_of(2, 3, 4, kMax)), InternalError);     // more than there are
    EXPECT_THROW(choose(options_of(2, 3, 0, kMax)), InternalError);     // none for a token
    EXPECT_THROW(choose(options_of(3, 3, 1, kMax)), InternalError);     // too few experts in them
    EXPECT_THROW(choose(options_of(2, 6, 3, kTop2Sum)), InternalError); // no two scores
}

TEST(routing_groups, f32_and_threads) {
    TestContext t;
    for (const GroupsCase& c : kCases) {
        if (c.experts > 100) continue; // two of so many scores are next to each other
        const OpCase op = case_of(t.allocator, 300, c);
        // Sums over 12 experts and a dozen roundings; no two scores are close enough for another choice.
        expect_f32_close_to_f64(op, 60 * std::numeric_limits<float>::epsilon());
        expect_same_bits_for_any_threads(op);
    }
}

} // namespace
} // namespace braid::testing

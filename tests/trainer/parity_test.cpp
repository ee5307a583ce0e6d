// Every layout of ranks and micro-batches computes the same thing: losses, every parameter's gradient after
// all reductions, gradient norm, updated parameters, router state.

#include <fmt/core.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "base/glob.h"
#include "layers/feed_forward/mlp_config.h"
#include "layers/feed_forward/moe_config.h"
#include "layers/mixers/attention_config.h"
#include "layers/mixers/gated_delta_net_config.h"
#include "tests/support/sanitized.h"
#include "tests/trainer/parity_case.h"

namespace braid::testing {
namespace {

TEST(parity, data_ranks_and_micro_batches) {
    for (AuxScope scope : {AuxScope::sequence, AuxScope::global}) {
        const LayoutCase run = parity_case(scope, scope == AuxScope::global);
        const auto reference = alone(run);
        EXPECT_GT(reference[1].grad_norm, 0);
        for (int ranks : {1, 2, 4, 6})
            for (int64_t micro_batch = 1; micro_batch <= 4; micro_batch += test::kSanitized ? 3 : 1)
                for (bool sharded : {false, true})
                    expect_parity(run, reference, ranks,
                                  {.parallel = {.zero = sharded}, .micro_batch = micro_batch});
    }
}

TEST(parity, tensor_ranks) {
    for (bool tied : {false, true}) {
        const LayoutCase run = parity_case(AuxScope::sequence, tied);
        const auto reference = alone(run);
        for (bool sequence : {true, false}) {
            expect_parity(run, reference, 2,
                          {.parallel = {.tensor = 2, .sequence = sequence}, .micro_batch = 2});
            expect_parity(run, reference, 4,
                          {.parallel = {.tensor = 2, .sequence = sequence}, .micro_batch = 3});
        }
    }
}

TEST(parity, a_norm_over_heads_that_several_ranks_hold) {
    LayoutCase run = parity_case(AuxScope::sequence, false);
    auto& attention = run.model.sublayers["attn"].kind.get<AttentionConfig>();
    attention.qk_norm = QkNorm::full;
    run.model.sublayers["gdn"].kind.get<GatedDeltaNetConfig>().num_key_heads = 4;
    run.model.sublayers["dense"].kind.get<MlpConfig>().size = 12;
    for (const int64_t kv_heads : {1, 2, 4}) { // on four, two and one of four tensor ranks
        attention.num_kv_heads = kv_heads;
        const auto reference = alone(run);
        for (const bool sequence : {true, false})
            expect_parity(run, reference, 4,
                          {.parallel = {.tensor = 4, .sequence = sequence}, .micro_batch = 3});
    }
}

TEST(parity, frozen_parameters_in_every_kind_of_layout) {
    for (const OptimizerType type : {OptimizerType::adamw, OptimizerType::muon}) {
        LayoutCase run = parity_case(AuxScope::global, false);
        run.optimizer.type = type;
        run.optimizer.clip = 0.1; // so that the norm matters
        const auto all = alone(run);
        run.freeze = {"layers.0.*", "*.experts.up*", "head*"};
        const auto reference = alone(run);
        EXPECT_LT(reference[0].grad_norm, all[0].grad_norm);
        int64_t num_frozen = 0;
        for (const auto& [name, update] : reference[0].updates) {
            const bool frozen = std::any_of(
                run.freeze.begin(), run.freeze.end(),
                [&](const std::string& glob) { return matches_glob(glob, name.substr(name.find('/') + 1)); });
            num_frozen += frozen;
            double most = 0;
            for (const double change : update) most = std::max(most, std::abs(change));
            EXPECT_EQ(most == 0, frozen) << name;
        }
        EXPECT_GT(num_frozen, 5);
        for (const auto& [name, values] : reference[1].state)
            EXPECT_FALSE(name.starts_with("optimizer/") && name.find("/layers.0.") != std::string::npos)
                << name;
        for (const bool sharded : {false, true}) {
            expect_parity(run, reference, 3, {.parallel = {.zero = sharded}});
            expect_parity(run, reference, 4,
                          {.parallel = {.tensor = 2, .expert = 2, .zero = sharded}, .micro_batch = 2});
        }
    }
}

TEST(parity, expert_ranks) {
    const LayoutCase run = parity_case(AuxScope::global, false);
    const auto reference = alone(run);
    for (int expert : {2, 3, 6})
        expect_parity(run, reference, 6, {.parallel = {.expert = expert}, .micro_batch = 1});
    expect_parity(run, reference, 4, {.parallel = {.expert = 2}, .micro_batch = 1}); // 6 sequences on 4 ranks
    expect_parity(run, reference, 5, {.parallel = {.expert_tensor = 5}, .micro_batch = 2});
}

TEST(parity, matrices_that_lie_on_several_ranks) {
    LayoutCase run = parity_case(AuxScope::global, false);
    run.optimizer.type = OptimizerType::muon;
    // Key/value heads of attention are on two ranks each with four tensor ranks.
    run.model.sublayers["gdn"].kind.get<GatedDeltaNetConfig>().num_key_heads = 4;
    run.model.sublayers["dense"].kind.get<MlpConfig>().size = 12;
    for (bool split_heads : {true, false}) {
        if (test::kSanitized && !split_heads) continue;
        run.optimizer.muon.split_heads = split_heads;
        const auto reference = alone(run);
        for (bool sharded : {false, true}) {
            expect_parity(run, reference, 3, {.parallel = {.zero = sharded}});
            expect_parity(run, reference, 4, {.parallel = {.tensor = 4, .zero = sharded}, .micro_batch = 2});
            expect_parity(run, reference, 8, {.parallel = {.tensor = 4, .expert = 2, .zero = sharded}});
            expect_parity(run, reference, 6, {.parallel = {.tensor = 2, .expert = 3, .zero = sharded}});
            expect_parity(run, reference, 5, {.parallel = {.expert_tensor = 5, .zero = sharded}});
            expect_parity(run, reference, 6,
                          {.parallel = {.tensor = 2, .expert = 2, .sequence = false, .zero = sharded}});
        }
    }
}

TEST(parity, an_update_may_differ_by_what_its_gradient_explains) {
    LayoutStep expected, found;
    expected.gradients["gradient/m"] = {1, 1};
    expected.updates["model/m"] = {0.5, 0.5};
    expected.gradients["gradient/v"] = {1};
    expected.updates["model/v"] = {0.5};
    expected.matrix_slopes["m"] = 100;
    found = expected;
    const double d = 1e-13;
    found.gradients["gradient/m"] = {1 + 3 * d, 1 + 4 * d}; // a norm of 5 d, which explains 500 d
    found.updates["model/m"] = {0.5 + 499 * d, 0.5};
    EXPECT_NEAR(compare({found}, {expected}).error, 4 * d, 0.01 * d) << "that of the gradient";
    found.updates["model/m"] = {0.5 + 600 * d, 0.5};
    EXPECT_NEAR(compare({found}, {expected}).error, 200 * d, 4 * d) << "what is not explained, over 0.5";
    for (const std::vector<double>& values : {std::vector{0.5, std::nan("")}, {std::nan(""), 0.6}}) {
        found.updates["model/m"] = values;
        EXPECT_TRUE(std::isnan(compare({found}, {expected}).error)) << "whatever is compared after it";
    }
    found = expected;
    found.updates["model/v"] = {0.5 + 100 * d};
    EXPECT_NEAR(compare({found}, {expected}).error, 200 * d, 4 * d) << "no matrix";
}

TEST(parity, experts_in_pieces) {
    const LayoutCase run = parity_case(AuxScope::sequence, false);
    const auto reference = alone(run);
    // From one token at a time to more than there are; 24 tokens of a sequence do not divide evenly.
    for (const int64_t piece_tokens : {1, 5, 24, 1000}) {
        if (test::kSanitized && piece_tokens != 5) continue;
        const LayoutCase pieces = in_pieces(run, piece_tokens);
        expect_parity(pieces, reference, 1, {.micro_batch = 4});
        expect_parity(pieces, reference, 2, {.parallel = {.expert = 2}, .micro_batch = 2});
        expect_parity(pieces, reference, 4, {.parallel = {.expert = 2}, .micro_batch = 1}); // idle data ranks
        expect_parity(pieces, reference, 5, {.parallel = {.expert_tensor = 5}, .micro_batch = 2});
        expect_parity(pieces, reference, 6, {.parallel = {.tensor = 2, .expert = 6}, .micro_batch = 3});
    }
}

TEST(parity, pieces_and_recomputation_of_layers_go_together) {
    const LayoutCase run = in_pieces(parity_case(AuxScope::sequence, false), 7);
    const Layout layout{.parallel = {.expert = 2}, .micro_batch = 2};
    Layout recomputed = layout;
    recomputed.recompute = true;
    EXPECT_EQ(compare(on_ranks(run, 2, recomputed), on_ranks(run, 2, layout)).error, 0);
    EXPECT_EQ(compare(on_ranks(run, 2, layout), on_ranks(run, 2, layout)).error, 0) << "twice the same";
}

TEST(parity, a_batch_balanced_as_a_whole_does_not_depend_on_ranks) {
    const LayoutCase run = parity_case(AuxScope::batch, false);
    const auto reference = alone(run);
    for (int ranks : {2, 3, 6})
        expect_parity(run, reference, ranks, {.micro_batch = run.global_batch / ranks});
}

TEST(parity, twice_the_same_layout_gives_the_same_bits) {
    const LayoutCase run = parity_case(AuxScope::sequence, false);
    for (int ranks : {1, 2, 4}) {
        const Layout layout{.parallel = {.tensor = ranks > 1 ? 2 : 1, .expert = ranks > 1 ? 2 : 1}};
        EXPECT_EQ(compare(on_ranks(run, ranks, layout), on_ranks(run, ranks, layout)).error, 0);
    }
}

TEST(parity, recomputation_and_sharding_give_the_same_bits) {
    LayoutCase run = parity_case(AuxScope::global, false);
    for (const OptimizerType type : {OptimizerType::adamw, OptimizerType::muon}) {
        run.optimizer.type = type;
        const auto kept = on_ranks(run, 2, {.parallel = {.zero = false}, .micro_batch = 2});
        const auto recomputed =
            on_ranks(run, 2, {.parallel = {.zero = false}, .micro_batch = 2, .recompute = true});
        EXPECT_EQ(compare(recomputed, kept).error, 0);
        EXPECT_EQ(compare(on_ranks(run, 2, {.parallel = {.zero = true}, .micro_batch = 2}), kept).error, 0);
    }
}

TEST(parity, an_update_that_is_only_reported_leaves_no_trace) {
    LayoutCase run = parity_case(AuxScope::sequence, false);
    for (bool sharded : {false, true}) {
        const Layout layout{.parallel = {.tensor = 2, .zero = sharded}};
        const auto plain = on_ranks(run, 4, layout);
        LayoutCase reporting = run;
        reporting.reported_eps = 1e-7;
        auto steps = on_ranks(reporting, 4, layout);
        LayoutCase other = run;
        other.optimizer.eps = 1e-7; // the first step starts from the same state whatever eps is
        EXPECT_EQ(steps[0].reported_updates, on_ranks(other, 4, layout)[0].updates);
        EXPECT_NE(steps[0].reported_updates, steps[0].updates);
        for (LayoutStep& step : steps) step.reported_updates.clear();
        EXPECT_EQ(compare(steps, plain).error, 0);
    }
}

TEST(parity, tokens_go_where_they_went_in_the_reference_in_every_layout) {
    LayoutCase run = parity_case(AuxScope::sequence, false);
    run.replay_routing = true;
    run.steps = 1;
    auto start = alone(run);
    const int64_t choices = 2 * run.global_batch * run.sequence_length; // in two MoE layers
    EXPECT_EQ(start[0].num_choices, choices);
    EXPECT_EQ(start[0].num_flips, 0);
    // Routers that now like best what they liked least, and must send tokens where they went before.
    for (auto& [name, values] : start[0].state)
        if (name.starts_with("model/") && name.find("router") != std::string::npos)
            for (double& value : values) value = -value;
    const auto reference = on_ranks(run, 1, {.micro_batch = run.global_batch}, &start);
    EXPECT_GT(reference[0].num_flips, choices / 2);
    for (const auto& [ranks, layout] :
         {std::pair{1, Layout{.micro_batch = 4, .recompute = true}},
          {2, Layout{.parallel = {.tensor = 2}, .micro_batch = 4}},
          {4, Layout{.parallel = {.tensor = 2, .expert = 2, .sequence = false}}},
          {6, Layout{.parallel = {.tensor = 2, .expert = 3}, .micro_batch = 2, .recompute = true}}}) {
        const auto steps = on_ranks(run, ranks, layout, &start);
        EXPECT_LE(compare(steps, reference).error, kParityBound);
        EXPECT_EQ(steps[0].num_choices, choices);
        EXPECT_EQ(steps[0].num_flips, reference[0].num_flips);
    }
    run.replay_routing = false;
    EXPECT_GT(compare(on_ranks(run, 1, {.micro_batch = run.global_batch}, &start), reference).error, 1e-3);
}

} // namespace
} // namespace braid::testing

#include "layers/specification/nearest_layouts.h"

#include <fmt/format.h>
#include <gmock/gmock.h>

#include "base/error.h"
#include "layers/feed_forward/moe_config.h"
#include "layers/mixers/attention_config.h"

namespace braid::testing {
namespace {

/// Tensor ranks may be 1, 2, 4 or 8 (held twice), expert ranks divide 12, expert_tensor ranks divide 9.
ModelConfig test_model() {
    ModelConfig model;
    model.vocab_size = 100;
    model.hidden_size = 8;
    model.pattern = "attn+moe";
    model.sublayers["attn"].kind = AttentionConfig{.num_heads = 8, .num_kv_heads = 4, .head_dim = 4};
    model.sublayers["moe"].kind = MoeConfig{.num_experts = 12, .experts_per_token = 2, .expert_size = 9};
    return model;
}

std::string text(const ParallelConfig& sizes, int) {
    return fmt::format("{} {} {}", sizes.tensor, sizes.expert, sizes.expert_tensor);
}

std::string nearest(const ParallelConfig& asked, int num_ranks, const LayoutCondition& condition) {
    return nearest_layouts(LayoutRules(test_model()), condition, asked, num_ranks).to_text(text);
}

bool any(const RankGrid&) {
    return true;
}

TEST(nearest_layouts, stand_by_distance_then_by_size) {
    EXPECT_EQ(nearest({.tensor = 3}, 6, any),
              "\nlayouts that would work on 6 ranks: 2 1 1; 1 1 1; 2 2 1; 2 1 3; 2 3 1");
    EXPECT_EQ(nearest({.tensor = 2, .expert = 5}, 8, any),
              "\nlayouts that would work on 8 ranks: 2 4 1; 1 4 1; 2 2 1; 4 4 1; 1 2 1");
    EXPECT_EQ(nearest({.tensor = 5}, 1, any), "\nlayouts that would work on 1 rank: 1 1 1");
}

TEST(nearest_layouts, keep_what_the_caller_asks_beside_the_sizes) {
    const auto few_sequences = [](const RankGrid& grid) { return grid.data.size <= 2; };
    EXPECT_EQ(nearest({}, 8, few_sequences),
              "\nlayouts that would work on 8 ranks: 4 1 1; 4 2 1; 8 1 1; 4 4 1; 8 2 1");
    const NearestLayouts found =
        nearest_layouts(LayoutRules(test_model()), any, {.tensor = 2, .sequence = false}, 2);
    EXPECT_FALSE(found.layouts.at(0).sequence);
}

TEST(nearest_layouts, on_fewer_ranks_where_none_fits) {
    const auto two_sequences = [](const RankGrid& grid) { return grid.data.size <= 2; };
    // Eight tensor ranks at most, so sixteen ranks are the most two sequences can feed.
    EXPECT_EQ(nearest({}, 1024, two_sequences), "\nlayouts that would work on 16 ranks: 8 1 1; 8 2 1; 8 4 1");
    EXPECT_EQ(nearest({}, 8, [](const RankGrid&) { return false; }), "");
}

TEST(nearest_layouts, pass_the_checks_that_refuse_others) {
    const LayoutRules rules(test_model());
    for (int ranks = 1; ranks <= 48; ++ranks) {
        const NearestLayouts found = nearest_layouts(rules, any, {.tensor = 8, .expert = 6}, ranks);
        EXPECT_EQ(found.num_ranks, ranks);
        EXPECT_GE(found.layouts.size(), 1u);
        EXPECT_LE(found.layouts.size(), NearestLayouts::kMost);
        for (const ParallelConfig& sizes : found.layouts)
            for (int rank = 0; rank < ranks; ++rank)
                EXPECT_NO_THROW(rules.expect_fits(make_grid(sizes, ranks, rank)));
    }
}

TEST(layout_rules, name_every_size_that_does_not_fit) {
    ModelConfig model = test_model();
    model.pattern = "attn+moe, attn+moe";
    try {
        LayoutRules(model).expect_fits(make_grid({.tensor = 3, .expert = 5}, 15, 0));
        FAIL() << "no exception";
    } catch (const ConfigError& error) {
        EXPECT_STREQ(
            error.what(),
            "model.sublayers.attn.num_heads: 8 cannot be shared out over parallel.tensor: 3; tensor may be "
            "1, 2, 4, 8\n"
            "model.sublayers.attn.num_kv_heads: 4 cannot be shared out over parallel.tensor: 3; tensor may "
            "be 1, 2, 4\n"
            "model.sublayers.moe.num_experts: 12 cannot be shared out over parallel.expert: 5; expert may be "
            "1, 2, 3, 4, 6, 12");
    }
    model.pattern = "attn";
    EXPECT_THROW(LayoutRules(model).expect_fits(make_grid({.expert = 2}, 2, 0)), ConfigError);
}

} // namespace
} // namespace braid::testing

#include "ablation/plan/plan.h"

#include <cmath>

#include "ablation/plan/match.h"
#include "layers/feed_forward/mlp_config.h"
#include "tests/ablation/sweep_base.h"
#include "tests/support/config_text.h"
#include "tests/support/temporary_folder.h"

namespace braid::testing {
namespace {

using test::TemporaryFolder;
using test::write_file;

const std::string kSweep = R"(name: norms
extends: base.yaml
axes:
  placement: {key: model.norm.placement, values: [pre, post]}
  qk:
    variants:
      none: {}
      head: {model.sublayers.attn.qk_norm: per_head}
reference: {placement: pre, qk: none}
seeds: 3
outcome: {metric: eval/web/loss}
matters: 0.01
)";

/// A folder with the run file, and plans of sweep files in it.
struct Plans {
    Plans() { write_file(folder / "base.yaml", kBase); }
    SweepPlan of(const std::string& text) {
        write_file(folder / "sweep.yaml", text);
        return make_plan(read_sweep(folder / "sweep.yaml"), folder / "sweep.yaml");
    }
    std::string error_of(const std::string& text) {
        return config_error([&] { of(text); });
    }
    TemporaryFolder folder;
};

std::string replaced(std::string text, const std::string& from, const std::string& to) {
    const size_t at = text.find(from);
    EXPECT_NE(at, std::string::npos) << from;
    return at == std::string::npos ? text : text.replace(at, from.size(), to);
}

std::vector<std::string> ids(const SweepPlan& plan) {
    std::vector<std::string> all;
    for (const Variant& variant : plan.variants) all.push_back(variant.id);
    return all;
}

TEST(plan, a_grid_has_every_combination_in_the_files_order) {
    Plans plans;
    const SweepPlan plan = plans.of(kSweep);
    EXPECT_EQ(ids(plan), (std::vector<std::string>{"placement-pre_qk-none", "placement-pre_qk-head",
                                                   "placement-post_qk-none", "placement-post_qk-head"}));
    EXPECT_EQ(plan.reference, 0U);
    EXPECT_EQ(plan.variants[3].label, "placement post, qk head");
    EXPECT_EQ(plan.judge_seeds, (std::vector<uint64_t>{40, 41, 42}));
    const RunConfig run = run_config(plan, plan.variants[3], {.seed = 41, .tuned = {}, .run_dir = "a b/x"});
    EXPECT_EQ(run.model.norm.placement, NormPlacement::post);
    EXPECT_EQ(run.seed, 41U);
    EXPECT_EQ(run.data.seed, 41U);
    EXPECT_EQ(run.run_dir, "a b/x");
    // Two norms of 8 numbers in each of two layers.
    EXPECT_EQ(plan.variants[1].size.total_parameters, plan.variants[0].size.total_parameters + 2 * 2 * 8);
}

TEST(plan, one_at_a_time_and_exclude) {
    Plans plans;
    EXPECT_EQ(ids(plans.of(kSweep + "design: one_at_a_time\n")),
              (std::vector<std::string>{"placement-pre_qk-none", "placement-pre_qk-head",
                                        "placement-post_qk-none"}));
    EXPECT_EQ(ids(plans.of(kSweep + "exclude: [{placement: post, qk: none}]\n")),
              (std::vector<std::string>{"placement-pre_qk-none", "placement-pre_qk-head",
                                        "placement-post_qk-head"}));
    EXPECT_THAT(plans.error_of(kSweep + "exclude: [{placement: pre}]\n"),
                ::testing::HasSubstr("exclude: leaves out the reference"));
}

TEST(plan, ids_are_names_of_folders) {
    Plans plans;
    const std::string ratios =
        replaced(replaced(kSweep, "{placement: pre, qk: none}", "{ratio: \"(attn+mlp)*2\"}"),
                 "  placement: {key: model.norm.placement, values: [pre, post]}\n",
                 "  ratio: {key: model.pattern, values: [\"(attn+mlp)*2\", \"(attn/mlp)*2\"]}\n");
    const std::string only_ratio = replaced(ratios,
                                            "  qk:\n    variants:\n      none: {}\n      head: "
                                            "{model.sublayers.attn.qk_norm: per_head}\n",
                                            "");
    // A pattern that the run file cannot have is found, and named by its variant.
    EXPECT_THAT(plans.error_of(only_ratio), ::testing::HasSubstr("ratio (attn/mlp)*2"));
    const SweepPlan plan = plans.of(replaced(only_ratio, "(attn/mlp)*2", "attn+mlp, attn"));
    EXPECT_EQ(ids(plan), (std::vector<std::string>{"ratio--attn-mlp--2", "ratio-attn-mlp--attn"}));
}

TEST(plan, seeds_that_judge_never_tune) {
    Plans plans;
    const std::string tuned =
        kSweep + "tune: {key: optimizer.lr, values: [1.0e-3, 2.0e-3], seeds: 2}\nlooks: 2\n";
    const SweepPlan plan = plans.of(tuned);
    EXPECT_EQ(plan.judge_seeds, (std::vector<uint64_t>{40, 41, 42, 43, 44, 45}));
    EXPECT_EQ(plan.seeds_at(1), (std::vector<uint64_t>{40, 41, 42}));
    EXPECT_EQ(plan.tune_seeds, (std::vector<uint64_t>{46, 47}));
    EXPECT_THAT(plans.error_of(replaced(tuned, "seeds: 2", "seeds: [50, 44]")),
                ::testing::HasSubstr("tune.seeds: 44 judges too"));
    EXPECT_THAT(plans.error_of(replaced(kSweep, "seeds: 3", "seeds: 1")),
                ::testing::HasSubstr("seeds: expected at least 2 for each look"));
    EXPECT_THAT(plans.error_of(replaced(kSweep, "seeds: 3", "seeds: [1, 2, 1]")),
                ::testing::HasSubstr("1 is there twice"));
}

TEST(plan, what_makes_no_sense_is_refused_by_name) {
    Plans plans;
    const std::vector<std::tuple<std::string, std::string, std::string>> cases{
        {"model.norm.placement", "model.norm.placment", "did you mean model.norm.placement?"},
        {"values: [pre, post]", "values: [pre, pre]", "pre is there twice"},
        {"{placement: pre, qk: none}", "{placement: pre}", "found none of qk"},
        {"{placement: pre, qk: none}", "{placement: later, qk: none}",
         "expected one of pre or post, found later"},
        {"eval/web/loss", "eval/wob/loss",
         "expected one of loss, eval_loss, eval/web/loss, eval/web/bits_per_byte"},
        {"{model.sublayers.attn.qk_norm: per_head}", "{model.sublayers.attn.qk_norm: none}",
         "are the same run"},
        {"{model.sublayers.attn.qk_norm: per_head}", "{model.norm.placement: post}",
         "is set by another axis too"},
        {"key: model.norm.placement", "kee: model.norm.placement", "unknown key kee; did you mean key?"},
        {"matters: 0.01", "matter: 0.01", "did you mean matters?"},
        {"matters: 0.01", "", "matters: required"},
        {"base.yaml", "none.yaml", "none.yaml"},
    };
    for (const auto& [from, to, expected] : cases)
        EXPECT_THAT(plans.error_of(replaced(kSweep, from, to)), ::testing::HasSubstr(expected)) << to;
}

TEST(plan, the_resolved_file_reads_back_the_same) {
    const std::string text = kSweep +
                             "tune: {key: optimizer.lr, values: [1.0e-3], seeds: [9]}\n"
                             "match: {adjust: model.sublayers.mlp.size, multiple_of: 8}\n"
                             "exclude: [{placement: post, qk: none}]\nset: {train.steps: 20}\n";
    const SweepConfig sweep = parse_sweep(text, "x.yaml");
    EXPECT_EQ(parse_sweep(to_yaml(sweep), "y.yaml"), sweep);
    SweepConfig other = sweep;
    other.matters = 0.5;
    other.seeds.count = 4;
    EXPECT_EQ(sweep_differences(sweep, other),
              (std::vector<std::string>{"seeds: 3 -> 4", "matters: 0.01 -> 0.5"}));
}

/// A model whose quantity is what `size` says.
ModelSize sized(double parameters) {
    return {
        .total_parameters = 0, .active_parameters = static_cast<int64_t>(parameters), .flops_per_token = 0};
}

TEST(match, finds_the_multiple_that_comes_nearest) {
    const MatchConfig match{.adjust = "size", .tolerance = 0.02, .multiple_of = 8};
    // 1000 + 7 n = 4499 near n = 500; of multiples of 8, 496 has 4472 and 504 has 4528.
    const auto size_with = [](int64_t n) { return sized(1000 + 7 * static_cast<double>(n)); };
    for (const int64_t from : {1, 100, 496, 5000}) {
        const Adjustment found = solve_match(match, sized(4499), from, size_with, "v");
        EXPECT_EQ(found.value, 496) << from;
        EXPECT_NEAR(found.residue, -27.0 / 4499, 1e-12);
    }
}

TEST(match, without_a_solution_names_both_neighbours) {
    const MatchConfig match{.adjust = "size", .tolerance = 0.001, .multiple_of = 64};
    const auto size_with = [](int64_t n) { return sized(static_cast<double>(n) * 10); };
    const std::string message =
        config_error([&] { solve_match(match, sized(1000), 64, size_with, "placement post"); });
    EXPECT_THAT(message, ::testing::HasSubstr("placement post: no value of size"));
    EXPECT_THAT(message, ::testing::HasSubstr("nearest: 64 (-36.00%) and 128 (+28.00%)"));
}

TEST(match, makes_models_of_one_size) {
    Plans plans;
    const std::string text = replaced(kSweep, "head: {model.sublayers.attn.qk_norm: per_head}",
                                      "head: {model.sublayers.attn.num_heads: 2}") +
                             "match: {adjust: model.sublayers.mlp.size, tolerance: 0.02}\n";
    const SweepPlan plan = plans.of(text);
    // Two heads of 8 are missing in four matrices of 32 columns, in two layers: what the MLP, with three
    // matrices of 32 columns (SwiGLU), makes up for by 2 * 8 * 4 / 3 = 21.3 more rows.
    ASSERT_TRUE(plan.variants[1].adjusted);
    EXPECT_EQ(plan.variants[1].adjusted->value, 64 + 21);
    EXPECT_FALSE(plan.variants[0].adjusted);
    EXPECT_EQ(run_config(plan, plan.variants[1], {.seed = 1, .tuned = {}, .run_dir = {}})
                  .model.sublayers.at("mlp")
                  .kind.get<MlpConfig>()
                  .size,
              85);
}

TEST(plan, judges_by_what_evaluations_tell_and_less_is_better_of) {
    Plans plans;
    write_file(plans.folder / "base.yaml",
               replaced(kBase, "{every: 5}", "{every: 5, tasks: {facts: {path: facts.jsonl}}}"));
    const auto judged_by = [](const std::string& metric) {
        return replaced(kSweep, "eval/web/loss", metric);
    };
    for (const char* metric : {"loss", "eval_loss", "eval/web/bits_per_byte", "task/facts/bits_per_byte"})
        EXPECT_EQ(plans.of(judged_by(metric)).sweep.outcome.metric, metric);
    for (const char* metric : {"task/facts/accuracy", "task/other/bits_per_byte", "eval/web/accuracy"})
        EXPECT_NE(plans.error_of(judged_by(metric)).find("outcome.metric: expected one of"),
                  std::string::npos);
}

} // namespace
} // namespace braid::testing

#include "ablation/sweep/verdict.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "ablation/sweep/forecast.h"
#include "tests/ablation/sweep_base.h"
#include "tests/support/temporary_folder.h"

namespace braid::testing {
namespace {

using ::testing::HasSubstr;
using Json = nlohmann::ordered_json;
using test::TemporaryFolder;
using test::write_file;

const std::string kJudgedSweep = R"(name: s
extends: base.yaml
axes:
  placement: {key: model.norm.placement, values: [pre, post]}
  size: {key: model.sublayers.mlp.size, values: [64, 128]}
reference: {placement: pre, size: 64}
seeds: 3
outcome: {metric: eval/web/loss}
matters: 0.01
)";

/// A sweep whose runs are written by hand: `outcome` of variant, seed and value of the tuned key, where one
/// is.
struct WrittenSweep {
    using OutcomeOf = std::function<std::optional<double>(const PlannedRun&)>;

    explicit WrittenSweep(const std::string& text) {
        write_file(folder / "base.yaml", kBase);
        write_file(folder / "s.yaml", text);
        plan = make_plan(read_sweep(folder / "s.yaml"), folder / "s.yaml");
        std::filesystem::create_directories(folder / "sweeps/s");
        sweep.emplace(folder / "sweeps/s");
        sweep->adopt(plan, false);
    }

    /// Writes the runs that can be named by now, until no further ones can.
    void write(const OutcomeOf& outcome) {
        for (size_t known = 0;;) {
            SweepResults results(plan, sweep->path());
            const auto runs = results.runs(1);
            if (runs.size() == known) return;
            known = runs.size();
            for (const PlannedRun& run : runs)
                if (!std::filesystem::exists(run.folder)) write_run(run, outcome(run));
        }
    }

    static void write_run(const PlannedRun& run, std::optional<double> outcome) {
        std::filesystem::create_directories(run.folder);
        write_file(run.folder + "/run.json",
                   fmt::format(
                       "{{\"step\": 10, \"tokens\": 640, \"flops\": 1e9, \"hours\": 0.5, \"exit_code\": {}}}",
                       outcome ? 0 : 5));
        if (outcome)
            write_file(
                run.folder + "/metrics.jsonl",
                fmt::format("{{\"step\": 5, \"eval/web/loss\": {}}}\n"
                            "{{\"step\": 10, \"eval/web/loss\": {}, \"eval/web/bits_per_byte\": 1.5}}\n",
                            *outcome + 1, *outcome));
    }

    Json verdict() {
        SweepResults results(plan, sweep->path());
        return verdict_json(plan, *sweep, results, 1);
    }

    TemporaryFolder folder;
    SweepPlan plan;
    std::optional<SweepFolder> sweep;
};

/// Seeds differ by a tenth, runs beside that by thousandths that differ from cell to cell.
double noisy(const PlannedRun& run) {
    const auto seed = static_cast<double>(run.seed);
    return 2 + 0.1 * seed + 0.001 * static_cast<double>((3 * run.key.variant + 2 * run.seed) % 4);
}

TEST(verdict, says_what_is_better_and_by_how_much) {
    WrittenSweep sweep(kJudgedSweep);
    // The larger MLP is better by a quarter, placement changes nothing.
    sweep.write([](const PlannedRun& run) { return noisy(run) - (run.key.variant % 2 ? 0.25 : 0); });
    const Json verdict = sweep.verdict();
    EXPECT_EQ(verdict["state"]["done"], 12);
    EXPECT_EQ(verdict["plan_hash"], sweep.plan.hash);
    EXPECT_GT(verdict["noise"]["pairing_correlation"], 0.9); // seeds are most of the variance
    EXPECT_EQ(verdict["noise"]["degrees_of_freedom"], 6);
    const Json& variants = verdict["variants"];
    ASSERT_EQ(variants.size(), 4U);
    EXPECT_FALSE(variants[0].contains("difference"));
    EXPECT_EQ(variants[1]["difference"]["verdict"], "better");
    EXPECT_NEAR(variants[1]["difference"]["estimate"], -0.25, 0.003);
    EXPECT_THAT(variants[1]["difference"]["sentence"], HasSubstr("better: -0.2"));
    EXPECT_EQ(variants[2]["difference"]["verdict"], "equal");
    EXPECT_EQ(variants[3]["difference"]["verdict"], "better");
    EXPECT_EQ(verdict["main_effects"].size(), 2U);
    EXPECT_EQ(verdict["main_effects"][1]["axis"], "size");
    EXPECT_EQ(verdict["main_effects"][1]["difference"]["verdict"], "better");
    EXPECT_EQ(verdict["interactions"].size(), 1U);
    // Another metric gets no verdict.
    EXPECT_EQ(verdict["exploratory"][0]["metric"], "eval/web/bits_per_byte");
    EXPECT_FALSE(verdict["exploratory"][0]["variants"][1].contains("verdict"));
}

TEST(verdict, the_larger_variant_is_also_judged_at_equal_flops) {
    WrittenSweep sweep(kJudgedSweep);
    sweep.write([](const PlannedRun& run) { return noisy(run); });
    const Json views = sweep.verdict()["views"];
    ASSERT_EQ(views.size(), 1U);
    EXPECT_THAT(views[0]["title"], HasSubstr("at equal FLOPs"));
    // Losses fall by 0.2 a step between the evaluations, and the larger one stops before step 10.
    const double ratio =
        sweep.plan.variants[0].size.flops_per_token / sweep.plan.variants[1].size.flops_per_token;
    const Json& difference = views[0]["variants"][0]["difference"];
    EXPECT_NEAR(difference["estimate"], 0.2 * 10 * (1 - ratio), 0.003);
    EXPECT_EQ(difference["verdict"], "worse");
}

TEST(verdict, waits_for_all_runs) {
    WrittenSweep sweep(kJudgedSweep);
    sweep.write([](const PlannedRun& run) { return noisy(run); });
    std::filesystem::remove_all(sweep.folder / "sweeps/s/runs/placement-post_size-64_s42");
    const Json verdict = sweep.verdict();
    EXPECT_EQ(verdict["state"]["missing"], 1);
    EXPECT_FALSE(verdict.contains("noise"));
    EXPECT_FALSE(verdict["variants"][1].contains("difference"));
    EXPECT_FALSE(verdict["variants"][2].contains("mean"));
    EXPECT_THAT(verdict["notes"].dump(), HasSubstr("some runs are missing: no verdict yet"));
}

TEST(verdict, survivors_are_not_averaged) {
    WrittenSweep sweep(kJudgedSweep);
    sweep.write([](const PlannedRun& run) {
        return run.key.variant == 3 && run.seed == 41 ? std::optional<double>() : std::optional(noisy(run));
    });
    const Json verdict = sweep.verdict();
    const Json& broken = verdict["variants"][3];
    EXPECT_EQ(broken["diverged"], 1);
    EXPECT_EQ(broken["of"], 3);
    EXPECT_FALSE(broken.contains("mean"));
    EXPECT_TRUE(broken["by_seed"]["41"].is_null());
    EXPECT_EQ(broken["difference"]["verdict"], "diverged");
    EXPECT_EQ(verdict["variants"][2]["difference"]["verdict"], "equal");
    EXPECT_EQ(verdict["noise"]["degrees_of_freedom"], 4); // three variants are left
    EXPECT_FALSE(verdict.contains("main_effects"));
}

TEST(verdict, tells_what_tuning_chose_and_whether_it_hangs_on_that) {
    WrittenSweep sweep(kJudgedSweep +
                       "tune: {key: optimizer.lr, values: [1.0e-3, 2.0e-3, 4.0e-3], seeds: 2}\n");
    sweep.write([](const PlannedRun& run) { return noisy(run) + (run.key.tuned == 2e-3 ? 0 : 0.5); });
    const Json verdict = sweep.verdict();
    EXPECT_EQ(verdict["variants"][1]["rate"], 2e-3);
    EXPECT_EQ(verdict["tuning"]["points"].size(), 12U);
    EXPECT_NEAR(verdict["tuning"]["hours"], 0.5 * 24, 1e-9);
    ASSERT_EQ(verdict["views"].size(), 3U); // equal FLOPs, lower, higher
    EXPECT_THAT(verdict["views"][1]["title"],
                HasSubstr("next lower optimizer.lr, by the 2 seeds that tuned"));
    EXPECT_EQ(verdict["views"][2]["variants"].size(), 3U);
}

TEST(forecast, tells_size_cost_and_what_can_be_seen) {
    WrittenSweep sweep(kJudgedSweep +
                       "match: {adjust: model.sublayers.attn.num_heads, multiple_of: 1, tolerance: 0.9}\n");
    SweepResults nothing(sweep.plan, sweep.sweep->path());
    const std::string before = describe_plan(sweep.plan, nothing, 1);
    EXPECT_THAT(before, HasSubstr("12 runs; 0 done"));
    EXPECT_THAT(before, HasSubstr("a guess: 30% of"));
    EXPECT_THAT(before, HasSubstr("times the noise of one run, not measured yet"));
    sweep.write([](const PlannedRun& run) { return noisy(run); });
    SweepResults all(sweep.plan, sweep.sweep->path());
    const std::string after = describe_plan(sweep.plan, all, 1);
    EXPECT_THAT(after, HasSubstr("12 runs; 12 done"));
    EXPECT_THAT(after, HasSubstr("as 12 runs of it took"));
    EXPECT_THAT(after, HasSubstr("nats per token (noise of one run"));
}

} // namespace
} // namespace braid::testing

#include "ablation/sweep/run_list.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <set>
#include <tuple>

#include "ablation/sweep/run_result.h"
#include "base/error.h"
#include "tests/support/config_text.h"
#include "tests/support/temporary_folder.h"

namespace braid::testing {
namespace {

using test::TemporaryFolder;
using test::write_file;

/// Two variants, a grid of three rates, two seeds that tune and two that judge; no files.
SweepPlan tuned_plan() {
    SweepPlan plan;
    plan.sweep.name = "s";
    plan.sweep.tune = {
        .key = "optimizer.lr", .values = {0.004, 0.001, 0.002}, .seeds = {.count = 2, .seeds = {}}};
    plan.sweep.seeds.count = 2;
    plan.judge_seeds = {1, 2};
    plan.tune_seeds = {8, 9};
    for (const char* id : {"a", "b"}) {
        Variant variant;
        variant.id = variant.label = id;
        variant.steps = 10;
        plan.variants.push_back(variant);
    }
    plan.variants[0].is_reference = true;
    return plan;
}

RunResult ended(double outcome) {
    return {.state = RunState::ended, .outcome = outcome};
}
RunResult diverged() {
    return {.state = RunState::diverged, .outcome = {}};
}

/// A loss with its minimum at `best`, the same for both seeds but for a small shift.
ResultOf valley(std::vector<double> best, double diverges_above = 1e9) {
    return [=](const PlannedRun& run) {
        if (*run.key.tuned > diverges_above) return diverged();
        const double distance = std::log2(*run.key.tuned / best[run.key.variant]);
        return ended(2 + distance * distance + 0.001 * static_cast<double>(run.seed));
    };
}

std::vector<double> chosen(const Tuning& tuning) {
    std::vector<double> values;
    for (const auto& value : tuning.chosen) values.push_back(value.value_or(-1));
    return values;
}

TEST(tuning, takes_the_best_within_the_grid) {
    const Tuning tuning = tuning_so_far(tuned_plan(), "f", valley({0.002, 0.002}));
    EXPECT_TRUE(tuning.finished);
    EXPECT_EQ(tuning.grid, (std::vector<double>{0.001, 0.002, 0.004}));
    EXPECT_EQ(chosen(tuning), (std::vector<double>{0.002, 0.002}));
    EXPECT_EQ(tuning.runs.size(), 3U * 2 * 2);
    EXPECT_EQ(tuning.runs[0].id, "tune/a_lr-0.001_s8");
    EXPECT_TRUE(tuning.notes.empty());
}

TEST(tuning, grows_the_grid_for_all_while_one_is_best_at_an_edge) {
    // a is best at 0.016, so that 0.032 is tried too; b is best inside, and gets the same grid.
    const Tuning tuning = tuning_so_far(tuned_plan(), "f", valley({0.016, 0.002}));
    EXPECT_TRUE(tuning.finished);
    EXPECT_EQ(tuning.grid, (std::vector<double>{0.001, 0.002, 0.004, 0.008, 0.016, 0.032}));
    EXPECT_EQ(chosen(tuning), (std::vector<double>{0.016, 0.002}));
    size_t of_b = 0;
    for (const TuningPoint& point : tuning.points) of_b += point.variant == 1;
    EXPECT_EQ(of_b, 6U);
}

TEST(tuning, waits_for_all_runs_of_a_grid) {
    const auto all = valley({0.016, 0.002});
    const Tuning tuning = tuning_so_far(tuned_plan(), "f", [&](const PlannedRun& run) {
        return run.seed == 9 && run.key.variant == 1 && *run.key.tuned == 0.004 ? RunResult{} : all(run);
    });
    EXPECT_FALSE(tuning.finished);
    EXPECT_EQ(tuning.grid.size(), 3U);
    EXPECT_EQ(planned_runs(tuned_plan(), "f", tuning, 1).size(), 12U); // none that judges
}

TEST(tuning, a_rate_counts_only_if_no_seed_diverged) {
    // Seed 9 diverges at the best rate of both: the next best is taken, and being bounded by a rate that
    // diverges is no edge.
    const auto all = valley({0.004, 0.004});
    const Tuning tuning = tuning_so_far(tuned_plan(), "f", [&](const PlannedRun& run) {
        return *run.key.tuned >= 0.004 && run.seed == 9 ? diverged() : all(run);
    });
    EXPECT_TRUE(tuning.finished);
    EXPECT_EQ(tuning.grid.size(), 3U);
    EXPECT_EQ(chosen(tuning), (std::vector<double>{0.002, 0.002}));
}

TEST(tuning, one_that_diverges_everywhere_is_a_result) {
    const auto all = valley({0.002, 0.002});
    const Tuning tuning = tuning_so_far(tuned_plan(), "f", [&](const PlannedRun& run) {
        return run.key.variant == 1 ? diverged() : all(run);
    });
    EXPECT_TRUE(tuning.finished);
    EXPECT_EQ(tuning.grid.size(), 3U + kMostExtensions); // lower rates were tried
    EXPECT_FALSE(tuning.chosen[1]);
    EXPECT_THAT(tuning.notes, ::testing::ElementsAre("b: diverged at every optimizer.lr"));
    const auto runs = planned_runs(tuned_plan(), "f", tuning, 1);
    EXPECT_EQ(runs.size() - tuning.runs.size(), 2U); // a alone is judged
}

TEST(tuning, ends_at_an_edge_and_says_so) {
    const Tuning tuning = tuning_so_far(tuned_plan(), "f", valley({100, 0.002}));
    EXPECT_TRUE(tuning.finished);
    EXPECT_EQ(tuning.grid.back(), 0.064);
    EXPECT_THAT(tuning.notes,
                ::testing::ElementsAre("a: the best optimizer.lr is the largest one tried, 0.064"));
}

/// Five rates: all in a quarter of the steps, three in half of them, two in whole runs.
TEST(tuning, halving_goes_on_with_the_better_half) {
    SweepPlan plan = tuned_plan();
    plan.sweep.tune.method = TuneMethod::halving;
    plan.sweep.tune.values = {0.001, 0.002, 0.004, 0.008, 0.016};
    for (Variant& variant : plan.variants) variant.steps = 41;
    EXPECT_EQ(num_rungs(plan.sweep.tune), 3);
    std::map<int64_t, std::set<std::pair<size_t, double>>> tried;
    // Short runs like higher rates: of 10, 20 and 41 steps the best is 0.008, 0.004 and 0.002.
    const auto result_of = [&](const PlannedRun& run) {
        const double best = run.key.steps == 10 ? 0.008 : run.key.steps == 20 ? 0.004 : 0.002;
        tried[run.key.steps].emplace(run.key.variant, *run.key.tuned);
        const double distance = std::log2(*run.key.tuned / best) + 0.1 * static_cast<double>(run.key.variant);
        return run.key.tuned == 0.016 ? diverged() : ended(2 + distance * distance);
    };
    const Tuning tuning = tuning_so_far(plan, "f", result_of);
    ASSERT_TRUE(tuning.finished);
    EXPECT_EQ(chosen(tuning), (std::vector<double>{0.002, 0.002}));
    EXPECT_EQ(tried[10].size(), 10U);
    using Tried = std::set<std::pair<size_t, double>>;
    EXPECT_EQ(tried[20], (Tried{{0, 0.002}, {0, 0.004}, {0, 0.008}, {1, 0.002}, {1, 0.004}, {1, 0.008}}));
    // For the first variant 0.002 and 0.008 are as far from 0.004, and the smaller is taken; at 0.1 octaves
    // more the second's is nearer.
    EXPECT_EQ(tried[0], (Tried{{0, 0.002}, {0, 0.004}, {1, 0.002}, {1, 0.004}}));
    EXPECT_EQ(tuning.points.size(), 10U + 6 + 4);
    EXPECT_EQ(planned_runs(plan, "f", tuning, 1).size(), 2 * (10U + 6 + 4) + 4);
    // While a rung is not complete nothing is chosen from it.
    const Tuning early = tuning_so_far(plan, "f", [&](const PlannedRun& run) {
        return run.key.steps == 20 && run.seed == 9 ? RunResult{} : result_of(run);
    });
    EXPECT_FALSE(early.finished);
    EXPECT_EQ(early.runs.size(), 2 * (10U + 6));
}

TEST(run_list, judges_all_variants_of_a_seed_before_the_next) {
    SweepPlan plan = tuned_plan();
    plan.sweep.tune = {};
    plan.sweep.looks = 2;
    plan.judge_seeds = {1, 2, 3, 4};
    std::vector<std::string> ids;
    for (const PlannedRun& run : planned_runs(plan, "f", tuning_so_far(plan, "f", {}), 1))
        ids.push_back(run.id);
    EXPECT_EQ(ids, (std::vector<std::string>{"runs/a_s1", "runs/b_s1", "runs/a_s2", "runs/b_s2"}));
    EXPECT_EQ(planned_runs(plan, "f", tuning_so_far(plan, "f", {}), 2).size(), 8U);
}

TEST(run_list, a_run_survives_being_sent) {
    const SweepPlan plan = tuned_plan();
    const Tuning tuning = tuning_so_far(plan, "f", valley({0.002, 0.002}));
    for (const PlannedRun& run : planned_runs(plan, "f", tuning, 1)) {
        const PlannedRun sent = decode_run(plan, "f", encode_run(run));
        EXPECT_EQ(sent.id, run.id);
        EXPECT_EQ(sent.folder, run.folder);
        EXPECT_EQ(sent.key, run.key);
    }
    PlannedRun branch = make_run(plan, "f", RunRole::tune, {1, 0.002, 5}, 8);
    EXPECT_EQ(branch.id, "tune/b_lr-0.002_steps-5_s8");
    branch.trunk = make_run(plan, "f", RunRole::trunk, {0, 0.002, 0}, 8).id;
    EXPECT_EQ(branch.trunk_folder(), "f/trunk/a_lr-0.002_s8");
    branch.branch_step = 4;
    const PlannedRun sent = decode_run(plan, "f", encode_run(branch));
    EXPECT_EQ(std::tuple(sent.key, sent.trunk, sent.branch_step, sent.folder),
              std::tuple(branch.key, branch.trunk, branch.branch_step, branch.folder));
    EXPECT_THROW(decode_run(plan, "f", "0 7 1 none 0 0 0 none"), InternalError);
}

std::string record(int64_t step, const std::string& rest) {
    return fmt::format("{{\"step\": {}, \"tokens\": 5, \"flops\": 2.0, \"hours\": 0.5{}}}\n", step, rest);
}

TEST(run_result, says_what_a_folder_says) {
    const TemporaryFolder folder;
    const OutcomeConfig last{.metric = "eval/web/loss"},
        best{.metric = "eval/web/loss", .at = OutcomeAt::best};
    EXPECT_EQ(read_run_result(folder.path(), last, 10).state, RunState::missing);
    write_file(folder / "metrics.jsonl",
               "{\"step\": 5, \"eval/web/loss\": 2.5}\n"
               "{\"step\": 6, \"loss\": 9.0}\n"
               "{\"step\": 10, \"eval/web/loss\": 2.75}\n{\"step\": 11, \"eval/we");
    const auto of = [&](const std::string& text, const OutcomeConfig& outcome) {
        write_file(folder / "run.json", text);
        return read_run_result(folder.path(), outcome, 10);
    };
    EXPECT_EQ(of(record(7, ""), last).state, RunState::unfinished);
    EXPECT_EQ(of(record(7, ", \"exit_code\": 75"), last).state, RunState::unfinished);
    EXPECT_EQ(of(record(7, ", \"exit_code\": 0"), last).state, RunState::unfinished); // of an earlier stop_at
    EXPECT_EQ(of(record(7, ", \"exit_code\": 5"), last).state, RunState::diverged);
    EXPECT_EQ(of(record(7, ", \"exit_code\": 7"), last).state, RunState::failed);
    const RunResult result = of(record(10, ", \"exit_code\": 0"), last);
    EXPECT_EQ(result.state, RunState::ended);
    EXPECT_EQ(result.outcome, 2.75);
    EXPECT_EQ(result.hours, 0.5);
    EXPECT_EQ(of(record(10, ", \"exit_code\": 0"), best).outcome, 2.5);
    write_file(folder / "metrics.jsonl",
               "{\"step\": 5, \"eval/web/loss\": 2.5}\n{\"step\": 10, \"eval/web/loss\": null}\n");
    EXPECT_EQ(of(record(10, ", \"exit_code\": 0"), last).state, RunState::diverged);
    EXPECT_EQ(of(record(10, ", \"exit_code\": 0"), best).outcome, 2.5);
}

TEST(run_result, refuses_what_is_no_run) {
    const TemporaryFolder folder;
    const OutcomeConfig outcome{.metric = "loss"};
    write_file(folder / "run.json", "[1]");
    EXPECT_THAT(config_error([&] { read_run_result(folder.path(), outcome, 1); }),
                ::testing::HasSubstr("run.json: expected a run record"));
    write_file(folder / "run.json", "{\"step\": \"x\"}");
    EXPECT_THAT(config_error([&] { read_run_result(folder.path(), outcome, 1); }),
                ::testing::HasSubstr("step: expected a number, found \"x\""));
    write_file(folder / "run.json", record(1, ", \"exit_code\": 0"));
    EXPECT_THAT(config_error([&] { read_run_result(folder.path(), outcome, 1); }),
                ::testing::HasSubstr("metrics.jsonl: expected loss"));
}

} // namespace
} // namespace braid::testing

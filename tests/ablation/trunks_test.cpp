#include "ablation/sweep/trunks.h"

#include <gmock/gmock.h>

#include "ablation/sweep/sweep.h"
#include "tests/ablation/sweep_base.h"
#include "tests/support/temporary_folder.h"
#include "trainer/config/run_config.h"

namespace braid::testing {
namespace {

using test::TemporaryFolder;
using test::write_file;
using ::testing::ElementsAre;

const std::string kStable = R"(
axes:
  length:
    variants:
      short: {train.steps: 20, optimizer.schedule: {type: wsd, warmup_steps: 4, decay_steps: 4}}
      middle: {train.steps: 40, optimizer.schedule: {type: wsd, warmup_steps: 4, decay_steps: 8}}
      long: {train.steps: 100, optimizer.schedule: {type: wsd, warmup_steps: 4, decay_steps: 20}}
      other: {train.steps: 100, optimizer.schedule: {type: wsd, warmup_steps: 5, decay_steps: 20}}
reference: {length: short}
seeds: 2
matters: 0.01
)";

SweepPlan plan_of(const TemporaryFolder& folder, const std::string& rest) {
    write_file(folder / "base.yaml", kBase);
    write_file(folder / "s.yaml", "name: s\nextends: base.yaml\n" + rest);
    return make_plan(read_sweep(folder / "s.yaml"), folder / "s.yaml");
}

std::vector<std::string> names(const std::vector<PlannedRun>& runs) {
    std::vector<std::string> all;
    for (const PlannedRun& run : runs) all.push_back(run.name());
    return all;
}

TEST(trunks, decays_leave_one_stable_run) {
    const TemporaryFolder folder;
    const SweepPlan plan = plan_of(folder, kStable);
    SweepResults results(plan, folder / "sweeps/s");
    std::vector<PlannedRun> runs = results.runs(1);
    const std::string seed = std::to_string(plan.judge_seeds[0]), trunk = "trunk/length-long_s" + seed;
    ASSERT_EQ(runs.size(), 12U); // of two seeds
    runs.resize(6);
    // The rate of step 16 is the last that 20 steps with 4 of decay share with the others.
    EXPECT_THAT(names(runs), ElementsAre(trunk + "@16", "runs/length-short_s" + seed, trunk + "@32",
                                         "runs/length-middle_s" + seed, "runs/length-long_s" + seed,
                                         "runs/length-other_s" + seed));
    EXPECT_EQ(runs[1].trunk, trunk);
    EXPECT_EQ(runs[1].branch_step, 16);
    EXPECT_EQ(runs[4].branch_step, 32);
    EXPECT_EQ(runs[5].trunk, ""); // another warm-up
    const RunConfig branch = run_config(plan, runs[3]);
    EXPECT_EQ(branch.start.from,
              (folder / "sweeps/s/trunk/length-long_s") + seed + "/checkpoints/step-00000032");
    EXPECT_EQ(branch.start.mode, StartMode::branch);
    const RunConfig stem = run_config(plan, runs[2]);
    EXPECT_EQ(stem.train.steps, 100);
    EXPECT_EQ(stem.train.stop_at, 32);
    EXPECT_EQ(stem.checkpoint.keep, 0);
    EXPECT_EQ(stem.checkpoint.every, 100); // of the file; a twentieth of 32 steps is less
}

TEST(trunks, what_differs_from_the_first_step_shares_nothing) {
    const TemporaryFolder folder;
    const SweepPlan plan = plan_of(folder, kStable);
    const RunConfig a = run_config(plan, plan.variants[1], {}), b = run_config(plan, plan.variants[2], {});
    EXPECT_EQ(steps_in_common(a, b), 32);
    RunConfig other = b;
    other.optimizer.lr *= 2;
    EXPECT_EQ(steps_in_common(a, other), 0);
    other = b;
    other.model.norm.eps *= 2;
    EXPECT_EQ(steps_in_common(a, other), 0);
    other = b;
    other.data.skip = {{20, 30}};
    EXPECT_EQ(steps_in_common(a, other), 19);
    RunConfig both = a;
    both.data.skip = {{20, 30}, {31, 31}};
    EXPECT_EQ(steps_in_common(both, other), 30);
    EXPECT_EQ(steps_in_common(a, a), 40);
    RunConfig stopped = a;
    stopped.train.stop_at = 25; // where it ends
    EXPECT_EQ(steps_in_common(stopped, b), 25);
}

TEST(trunks, halving_grows_one_trunk_for_each_value) {
    const TemporaryFolder folder;
    const SweepPlan plan = plan_of(folder, R"(
set: {train.steps: 80, optimizer.schedule: {type: wsd, warmup_steps: 2, decay_steps: 16}}
axes: {placement: {key: model.norm.placement, values: [pre, post]}}
reference: {placement: pre}
seeds: 2
matters: 0.01
tune: {key: optimizer.lr, values: [0.001, 0.002, 0.003, 0.004, 0.005], seeds: [100], method: halving}
)");
    SweepResults results(plan, folder / "sweeps/s");
    const std::vector<PlannedRun> runs = results.runs(1);
    ASSERT_EQ(runs.size(), 2U * 2 * 5);
    // Of 20 steps, 4 of which decay.
    EXPECT_EQ(runs[0].name(), "trunk/placement-pre_lr-0.001_s100@16");
    EXPECT_EQ(runs[1].name(), "tune/placement-pre_lr-0.001_steps-20_s100");
    const RunConfig tuned = run_config(plan, runs[1]);
    EXPECT_EQ(tuned.train.steps, 20);
    EXPECT_EQ(tuned.optimizer.schedule.decay_steps, 4);
    EXPECT_EQ(tuned.optimizer.schedule.warmup_steps, 2);
    EXPECT_EQ(tuned.optimizer.lr, 0.001);
    // The values in common have trunks of their own.
    EXPECT_EQ(runs[2].name(), "trunk/placement-post_lr-0.001_s100@16");
}

TEST(trunks, halving_needs_a_decay_of_its_own) {
    const TemporaryFolder folder;
    const std::string tail = R"(
axes: {placement: {key: model.norm.placement, values: [pre, post]}}
reference: {placement: pre}
seeds: 2
matters: 0.01
tune: {key: optimizer.lr, values: [0.001, 0.002, 0.003], seeds: [100], method: halving}
)";
    const auto refusal = [&](const std::string& schedule) -> std::string {
        try {
            plan_of(folder, "set: {train.steps: 20, optimizer.schedule: " + schedule + "}" + tail);
        } catch (const ConfigError& error) {
            return error.what();
        }
        return "none";
    };
    EXPECT_THAT(refusal("{type: cosine}"), ::testing::HasSubstr("halving needs optimizer.schedule.type wsd"));
    EXPECT_THAT(refusal("{type: wsd, warmup_steps: 10, decay_steps: 4}"),
                ::testing::AllOf(::testing::HasSubstr("begins with runs of 10 steps"),
                                 ::testing::HasSubstr("expected warm-up and decay within train.steps")));
    EXPECT_EQ(refusal("{type: wsd, warmup_steps: 2, decay_steps: 4}"), "none");
}

} // namespace
} // namespace braid::testing

// Where a run goes on, and what it refuses to go on from.
#include "trainer/start/resume.h"

#include "optim/lr_schedule.h"
#include "tests/trainer/checkpoint_fixture.h"

namespace braid {
namespace {

namespace fs = std::filesystem;
using test::PretendedRun;
using test::TemporaryFolder;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

RunConfig parse(const std::vector<std::string>& overrides = {}) {
    return parse_run_config(
        "name: small\n"
        "model: {vocab_size: 256, hidden_size: 8, pattern: dense, sublayers: {dense: {type: mlp, size: 8}}}\n"
        "train: {steps: 20, sequence_length: 16, global_batch: 2}\n"
        "data: {train: [{path: tokens.h5}]}\n",
        "test", overrides);
}

std::vector<std::string> keys_until(int64_t step, const std::vector<std::string>& then,
                                    const std::vector<std::string>& now) {
    std::vector<std::string> keys;
    for (const auto& difference : differences_until(parse(then), parse(now), step))
        keys.push_back(difference.key);
    return keys;
}

using Keys = std::vector<std::string>;

TEST(resume, only_what_the_steps_done_depend_on_tells_runs_apart) {
    const std::string constant = "optimizer.schedule.type=constant";
    EXPECT_EQ(keys_until(20, {constant}, {constant, "train.steps=40"}), Keys{});
    EXPECT_EQ(keys_until(20, {constant}, {constant, "log.every=7"}), Keys{});
    EXPECT_EQ(keys_until(1, {}, {"train.steps=40"}), Keys{"train.steps"});      // cosine: every rate moves
    EXPECT_EQ(keys_until(0, {}, {"train.steps=40", "optimizer.lr=1"}), Keys{}); // no step, no rate
    EXPECT_EQ(keys_until(0, {}, {"seed=99", "data.seed=1234"}), Keys{"seed"});  // which made the weights
    EXPECT_EQ(keys_until(1, {constant}, {constant, "optimizer.lr=2e-3"}), Keys{"optimizer.lr"});
    // Nothing hides behind equal rates.
    EXPECT_EQ(keys_until(20, {constant}, {constant, "train.steps=40", "optimizer.weight_decay=0"}),
              Keys{"optimizer.weight_decay"});
}

TEST(resume, a_stable_phase_may_be_lengthened_until_the_decay_begins) {
    const std::vector<std::string> wsd{
        "optimizer.schedule={type: wsd, warmup_steps: 3, decay_steps: 5, min_lr: 1e-5}"};
    std::vector<std::string> longer = wsd, other_end = wsd;
    longer.push_back("train.steps=40");
    other_end.push_back("optimizer.schedule.decay_shape=linear");
    EXPECT_EQ(keys_until(15, wsd, longer), Keys{}); // the last stable step
    EXPECT_EQ(keys_until(16, wsd, longer), Keys{"train.steps"});
    EXPECT_EQ(keys_until(15, wsd, other_end), Keys{});
    EXPECT_EQ(keys_until(16, wsd, other_end), Keys{"optimizer.schedule.decay_shape"});
    // A constant rate may be decayed from any step on.
    EXPECT_EQ(keys_until(12, {"optimizer.schedule={type: constant, warmup_steps: 3}"}, longer), Keys{});
}

/// A folder of checkpoints that runs of these configs wrote.
class Checkpoints {
  public:
    void add(int64_t step, const std::vector<std::string>& overrides,
             const std::function<void(TrainingState&)>& change = {}) {
        const PretendedRun run(step);
        CheckpointContent content = run.content();
        content.config = to_yaml(parse(overrides));
        content.training.sample = 2 * step;
        content.training.tokens = 30 * step;
        if (change) change(content.training);
        save_checkpoint(path(), test::shards_of_rank(run.tensors, 0, 1), content, 0,
                        [](const std::string& text) { return std::vector{text}; }, {0, 512});
    }
    std::string path() const { return folder_.path(); }
    std::string path(int64_t step) const { return path() + "/" + checkpoint_name(step); }
    ResumePoint find(const std::vector<std::string>& now, const std::vector<std::string>& stored,
                     const std::string& resume = "auto") const {
        return find_resume_point(parse(now), resume, StoredRun{to_yaml(parse(stored))}, path());
    }

  private:
    TemporaryFolder folder_;
};

TEST(resume, auto_passes_over_what_another_run_wrote) {
    for (const std::string foreign : {"seed=99", "optimizer.lr=1e-2", "model.norm.eps=1e-4", "data.seed=7"}) {
        Checkpoints checkpoints;
        checkpoints.add(5, {});
        checkpoints.add(10, {foreign});
        const ResumePoint point = checkpoints.find({}, {});
        EXPECT_EQ(point.step, 5) << foreign;
        EXPECT_THAT(point.message, AllOf(HasSubstr("skipped"), HasSubstr("step-00000010"),
                                         HasSubstr(foreign.substr(0, foreign.find('=')) + ": ")));
        // The same comparison serves a path.
        EXPECT_THAT(
            test::message_of<CheckpointError>([&] { checkpoints.find({}, {}, checkpoints.path(10)); }),
            HasSubstr(foreign.substr(0, foreign.find('=')) + ": "));
    }
}

TEST(resume, nothing_but_foreign_checkpoints_is_no_start_from_nothing) {
    Checkpoints checkpoints;
    checkpoints.add(10, {"seed=99"});
    EXPECT_THAT(test::message_of<CheckpointError>([&] { checkpoints.find({}, {}); }),
                AllOf(HasSubstr("none of 1 checkpoints"), HasSubstr("seed: 99 there, 1234 now")));
}

TEST(resume, a_position_no_run_can_have_is_refused) {
    const std::pair<std::function<void(TrainingState&)>, const char*> forgeries[] = {
        {[](TrainingState& s) { s.step = 10, s.sample = 22; }, "22 samples after 10 steps, expected 20"},
        {[](TrainingState& s) { s.tokens = 10 * 2 * 16 + 16; }, "tokens after 20 samples"},
    };
    for (const auto& [change, message] : forgeries) {
        Checkpoints checkpoints;
        checkpoints.add(10, {}, change);
        for (const std::string& resume : {std::string("auto"), checkpoints.path(10)})
            EXPECT_THAT(test::message_of<CheckpointError>([&] { checkpoints.find({}, {}, resume); }),
                        HasSubstr(message));
    }
    Checkpoints beyond;
    beyond.add(1000000000000, {});
    for (const std::string& resume : {std::string("auto"), beyond.path(1000000000000)})
        EXPECT_THAT(test::message_of<CheckpointError>([&] { beyond.find({}, {}, resume); }),
                    HasSubstr("expected at most step 20, where its run ends, found step 1000000000000"));
}

TEST(resume, a_run_extended_in_place_owns_its_older_checkpoints) {
    const std::vector<std::string> shorter{"optimizer.schedule.type=constant"},
        longer{"optimizer.schedule.type=constant", "train.steps=40"};
    Checkpoints checkpoints;
    checkpoints.add(20, shorter);
    EXPECT_EQ(checkpoints.find(longer, shorter).step, 20);
    checkpoints.add(30, longer);
    EXPECT_EQ(checkpoints.find(longer, longer).step, 30);
    EXPECT_EQ(checkpoints.find(longer, longer, checkpoints.path(20)).step, 20);
}

TEST(resume, a_folder_of_other_numbers_is_refused_with_the_step_that_decides) {
    const std::vector<std::string> wsd{"optimizer.schedule={type: wsd, decay_steps: 5}"},
        longer{wsd[0], "train.steps=40"};
    Checkpoints checkpoints;
    checkpoints.add(10, wsd);
    checkpoints.add(20, wsd);
    EXPECT_THAT(test::message_of<ConfigError>([&] { checkpoints.find(longer, wsd); }),
                AllOf(HasSubstr("train.steps: 20 there, 40 now"), HasSubstr("at step 20"),
                      HasSubstr("--resume CHECKPOINT")));
    EXPECT_EQ(checkpoints.find(longer, wsd, checkpoints.path(10)).step, 10); // before the decay
    EXPECT_THAT(test::message_of<ConfigError>([&] {
                    checkpoints.find({wsd[0], "seed=5"}, wsd);
                }),
                AllOf(HasSubstr("seed: 1234 there, 5 now"), Not(HasSubstr("--resume"))));
}

} // namespace
} // namespace braid

// Steps whose batches are left out.

#include <gmock/gmock.h>

#include "tests/trainer/checkpoint_fixture.h"
#include "tests/trainer/runs_fixture.h"

namespace braid {
namespace {

using test::Runs;
using ::testing::AllOf;
using ::testing::HasSubstr;

TEST(data_skip, skipped_steps_take_later_batches) {
    Runs runs;
    const std::vector<std::string> keep{"checkpoint.every=1", "checkpoint.keep=0"};
    const auto with = [&](std::vector<std::string> more) {
        more.insert(more.end(), keep.begin(), keep.end());
        return more;
    };
    runs.train("plain", with({"train.steps=8"}));
    // Steps 3 and 4 are left out from the start, or when they had gone wrong: the same run.
    const auto whole = runs.train("whole", with({"data.skip=[[3, 4]]"}));
    const auto plain = runs.train("later", keep);
    TrainRequest request;
    request.config = runs.config("later", with({"data.skip=[[3, 4]]"}));
    request.resume = runs.checkpoint("later", 2);
    request.progress.write = [](std::string_view) {};
    EXPECT_EQ(run_training(request, *self_communicator()), ExitCode::ok);
    for (const char* name : {"model/embedding.weight", "optimizer/exp_avg/layers.0.dense.up.weight"}) {
        EXPECT_EQ(runs.tensor("later", 6, name), runs.tensor("whole", 6, name));
        EXPECT_NE(runs.tensor("whole", 6, name), runs.tensor("plain", 6, name));
    }
    EXPECT_EQ(whole.at(2), plain.at(2));
    EXPECT_NE(whole.at(3), plain.at(3));
    // Step 3 learns from what step 5 would have.
    const RunConfig plain_config = runs.config("plain", {}),
                    skipping = runs.config("x", {"data.skip=[[3, 4]]"});
    const LoaderOptions options{16, 256};
    const TrainLoader all(plain_config.data, options);
    TrainLoader less(skipping.data, options);
    apply_position({}, skipping, less, "");
    for (int64_t sample = 0; sample < 12; ++sample)
        EXPECT_EQ(less.micro_batch(sample, 1).tokens,
                  all.micro_batch(sample < 4 ? sample : sample + 4, 1).tokens);
    // The checkpoint counts what went by.
    EXPECT_EQ(runs.training("whole", 6).counters.at("source/0/samples") +
                  runs.training("whole", 6).counters.at("source/1/samples"),
              2 * (6 + 2));
}

TEST(data_skip, a_branch_keeps_what_its_parent_skipped) {
    Runs runs;
    const std::vector<std::string> skip{"data.skip=[[2, 3], [5, 5]]", "checkpoint.keep=0"};
    runs.train("whole", skip);
    std::vector<std::string> stopped = skip;
    stopped.push_back("train.stop_at=4");
    runs.train("parent", stopped);
    const std::string from = runs.from(runs.path("parent"));
    // With the same file, and with one that says only what lies ahead.
    runs.train("same", {from, skip[0], skip[1]});
    runs.train("ahead", {from, "data.skip=[[5, 5]]"});
    for (const char* branch : {"same", "ahead"})
        EXPECT_EQ(runs.tensor(branch, 6, "model/embedding.weight"),
                  runs.tensor("whole", 6, "model/embedding.weight"));
    // Resumed in the middle, and branched again, with another batch.
    runs.train("halves", {from, skip[0], "train.stop_at=5"});
    runs.train("halves", {from, skip[0]});
    EXPECT_EQ(runs.tensor("halves", 6, "model/embedding.weight"),
              runs.tensor("whole", 6, "model/embedding.weight"));
    runs.train("wide", {runs.from(runs.path("halves")), "train.steps=8", "train.global_batch=3",
                        "data.skip=[[8, 8]]"});
    const SamplePosition position = stored_position(runs.training("wide", 8), "test");
    // Two samples a step: [2, 3] before sample 2, [5, 5] before sample 8.
    EXPECT_EQ(position.gaps, (std::vector<SampleGap>{{2, 4}, {8, 2}}));
    EXPECT_EQ(runs.training("wide", 8).counters.at("source/0/samples") +
                  runs.training("wide", 8).counters.at("source/1/samples"),
              6 * 2 + 4 + 2 + 2 * 3 + 3);
}

TEST(data_skip, what_was_learned_from_cannot_be_skipped_afterwards) {
    Runs runs;
    runs.train("run", {"train.stop_at=4"});
    TrainRequest request;
    request.config = runs.config("run", {"data.skip=[[4, 4]]"});
    request.progress.write = [](std::string_view) {};
    EXPECT_THAT(
        test::message_of<Error>([&] { run_training(request, *self_communicator()); }),
        AllOf(HasSubstr("data.skip.0: (absent) there, [4, 4] now"), HasSubstr("--resume CHECKPOINT")));
    request.config = runs.config("run", {"data.skip=[[5, 5]]"}); // lies ahead
    EXPECT_EQ(run_training(request, *self_communicator()), ExitCode::ok);
    for (const auto& [skip, expected] : std::vector<std::pair<std::string, std::string>>{
             {"[[4, 3]]", "expected a first step and a later last, found [4, 3]"},
             {"[[4, 4], [2, 2]]", "expected first steps in rising order, found 2 behind 4"},
             {"[[0, 1]]", "expected a whole number from 1"},
             {"[4, 5]", "for example [[500, 510]]"},
             {"[[7, 7]]", "expected steps up to train.steps (6), found 7"},
             {"[[1, 2000000000000]]", "found 2000000000000"}}) {
        EXPECT_THAT(test::message_of<ConfigError>([&] { runs.config("bad", {"data.skip=" + skip}); }),
                    AllOf(HasSubstr("data.skip"), HasSubstr(expected)));
    }
    EXPECT_THAT(test::message_of<ConfigError>([&] {
                    runs.config("bad", {"train.global_batch=1000000",
                                        "data.skip=[[1, 1000000000000], [1, 1000000000000]]"});
                }),
                HasSubstr("expected at most 2^60 tokens with those left out"));
}

} // namespace
} // namespace braid

// What a whole run leaves in its folder, over stops and resumes.

#include "trainer/run.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>
#include <sstream>

#include "base/error.h"
#include "parallel/communicator.h"
#include "tests/data/token_fixture.h"
#include "tests/support/temporary_folder.h"

namespace braid {
namespace {

using nlohmann::json;
using test::TemporaryFolder;

constexpr int64_t kSteps = 6;

/// A folder with a token file and a request to train on it for kSteps steps.
class RunCase {
  public:
    RunCase() {
        const std::string text = "What the river takes from one bank it lays down on the other, ";
        test::write_texts(folder_ / "tokens.h5", {text + text, text, text + text + text});
        const std::string tokens = folder_ / "tokens.h5";
        request_.config = parse_run_config(
            fmt::format(
                "name: small\n"
                "run_dir: {}\n"
                "model: {{vocab_size: 256, hidden_size: 8, pattern: dense, sublayers: {{dense: {{type: "
                "mlp, size: 8}}}}}}\n"
                "train: {{steps: {}, sequence_length: 16, global_batch: 2}}\n"
                "data: {{train: [{{path: {}}}], validation: {{same: {{path: {}}}}}}}\n"
                "checkpoint: {{every: 2}}\n"
                "eval: {{every: 3, tokens: 32, at_start: true}}\n"
                "log: {{layers_every: 2, tensorboard: true}}\n",
                folder_ / "run", kSteps, tokens, tokens),
            "test");
        request_.command = {"braid", "train"};
        request_.progress.write = [this](std::string_view text) { screen_ += text; };
    }

    /// Trains until the stop after `steps` more steps.
    ExitCode train(int64_t steps) {
        int64_t polls = 0;
        request_.stop_requested = [&] { return polls++ >= steps; };
        return run_training(request_, *self_communicator());
    }

    std::vector<int64_t> steps_of(const std::string& file) const {
        std::istringstream lines(test::read_file(path(file)));
        std::vector<int64_t> steps;
        for (std::string line; std::getline(lines, line);) steps.push_back(json::parse(line)["step"]);
        return steps;
    }
    json record() const { return json::parse(test::read_file(path("run.json"))); }
    std::string path(const std::string& name) const { return folder_ / ("run/" + name); }
    const std::string& screen() const { return screen_; }

  private:
    TemporaryFolder folder_;
    TrainRequest request_;
    std::string screen_;
};

const std::vector<int64_t> kAllSteps{0, 1, 2, 3, 4, 5, 6}, kLayerSteps{2, 4, 6};

TEST(run, writes_each_step_once_wherever_it_was_stopped) {
    RunCase run;
    // Also before the first step: the evaluation before training happens again, and its line once.
    for (const int64_t steps : {0, 0, 1, 3}) EXPECT_EQ(run.train(steps), ExitCode::stopped) << run.screen();
    EXPECT_EQ(run.train(kSteps), ExitCode::ok);
    EXPECT_EQ(run.steps_of("metrics.jsonl"), kAllSteps);
    EXPECT_EQ(run.steps_of("layers.jsonl"), kLayerSteps);
    const json record = run.record();
    ASSERT_EQ(record["starts"].size(), 5u);
    int64_t step = 0, tokens = 0;
    for (const json& start : record["starts"]) {
        EXPECT_EQ(start["first_step"], step + 1);
        step = start["last_step"];
        tokens += start["tokens"].get<int64_t>();
        EXPECT_EQ(start["exit_code"], step == kSteps ? 0 : 75);
    }
    EXPECT_EQ(record["step"], kSteps);
    EXPECT_EQ(record["tokens"], tokens);
    EXPECT_GT(tokens, 0);
    EXPECT_NE(test::read_file(run.path("log.txt")).find("stopped by a signal after step 1;"),
              std::string::npos);
}

TEST(run, steps_after_the_last_checkpoint_are_written_again) {
    RunCase run;
    EXPECT_EQ(run.train(5), ExitCode::stopped);
    std::filesystem::remove_all(run.path("checkpoints/step-00000005")); // as if killed in step 6
    EXPECT_EQ(run.train(kSteps), ExitCode::ok);
    EXPECT_EQ(run.steps_of("metrics.jsonl"), kAllSteps);
    EXPECT_EQ(run.steps_of("layers.jsonl"), kLayerSteps);
    EXPECT_EQ(run.record()["starts"][1]["first_step"], 5);
}

TEST(run, a_run_without_a_checkpoint_starts_over) {
    RunCase run;
    EXPECT_EQ(run.train(1), ExitCode::stopped);
    std::filesystem::remove_all(run.path("checkpoints"));
    EXPECT_EQ(run.train(kSteps), ExitCode::ok);
    EXPECT_EQ(run.steps_of("metrics.jsonl"), kAllSteps);
}

TEST(run, a_complete_run_is_left_alone) {
    RunCase run;
    EXPECT_EQ(run.train(kSteps), ExitCode::ok);
    const std::string metrics = test::read_file(run.path("metrics.jsonl"));
    EXPECT_EQ(run.train(kSteps), ExitCode::ok);
    EXPECT_EQ(test::read_file(run.path("metrics.jsonl")), metrics);
    EXPECT_EQ(run.record()["starts"].size(), 1u);
}

} // namespace
} // namespace braid

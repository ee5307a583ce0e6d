// What a whole run leaves in its folder, over stops and resumes.

#include "trainer/run/run.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <functional>
#include <nlohmann/json.hpp>
#include <sstream>
#include <utility>

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
        const size_t start = screen_.size();
        request_.stop_requested = [&] {
            int64_t done = 0;
            for (size_t at = start; (at = screen_.find("\nstep ", at)) != std::string::npos; ++at) ++done;
            if (happens_ && done == happens_after_) std::exchange(happens_, {})();
            return done >= steps;
        };
        return run_training(request_, *self_communicator());
    }

    /// Does this once, when so many steps are done.
    void when_done(int64_t steps, std::function<void()> happens) {
        happens_after_ = steps;
        happens_ = std::move(happens);
    }

    /// Nothing written, all looked at.
    ExitCode dry_run() {
        request_.dry_run = true;
        return run_training(request_, *self_communicator());
    }
    /// A checkpoint of the run; empty: the newest.
    void resume_from(const std::string& checkpoint) {
        request_.resume = checkpoint.empty() ? "auto" : path("checkpoints/" + checkpoint);
    }
    void break_data() { test::write_file(folder_ / "tokens.h5", "no token file"); }

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
    std::function<void()> happens_;
    int64_t happens_after_ = 0;
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

TEST(run, says_at_once_where_output_goes_and_at_the_end_what_to_do_next) {
    RunCase run;
    EXPECT_EQ(run.train(kSteps), ExitCode::ok);
    EXPECT_EQ(run.screen().find(
                  fmt::format("small: output goes to {}\n", run.path("").substr(0, run.path("").size() - 1))),
              0u)
        << run.screen();
    const std::string done = fmt::format("done: step 6 of 6; checkpoint {}; braid generate ",
                                         run.path("checkpoints/step-00000006"));
    EXPECT_NE(run.screen().find(done), std::string::npos) << run.screen();
    const std::string log = test::read_file(run.path("log.txt"));
    for (const std::string& said :
         {std::string(" eval 0/6 eval_loss "), std::string(" eval 3/6 eval_loss "),
          std::string(" eval 6/6 eval_loss "), " saved " + run.path("checkpoints/step-00000002"),
          " saved " + run.path("checkpoints/step-00000006"), " " + done})
        EXPECT_NE(log.find(said), std::string::npos) << said << "\n" << log;
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

TEST(run, going_back_by_hand_moves_the_abandoned_steps_away) {
    RunCase run;
    EXPECT_EQ(run.train(kSteps), ExitCode::ok);
    const std::string abandoned = test::read_file(run.path("metrics.jsonl"));
    run.resume_from("step-00000002");
    EXPECT_EQ(run.train(1), ExitCode::stopped);
    EXPECT_NE(run.screen().find("superseded/0001-after-step-2: 2 checkpoints, 4 lines"), std::string::npos)
        << run.screen();
    EXPECT_EQ(run.steps_of("metrics.jsonl"), (std::vector<int64_t>{0, 1, 2, 3}));
    EXPECT_EQ(run.steps_of("superseded/0001-after-step-2/metrics.jsonl"), (std::vector<int64_t>{3, 4, 5, 6}));
    EXPECT_EQ(run.steps_of("superseded/0001-after-step-2/layers.jsonl"), (std::vector<int64_t>{4, 6}));
    EXPECT_EQ(run.record()["starts"][1]["superseded"], run.path("superseded/0001-after-step-2"));

    run.resume_from("");
    EXPECT_EQ(run.train(kSteps), ExitCode::ok);
    EXPECT_EQ(run.steps_of("metrics.jsonl"), kAllSteps); // from 3 on, not from the abandoned 6
    EXPECT_EQ(run.record()["starts"][2]["first_step"], 4);
    EXPECT_FALSE(run.record()["starts"][2].contains("superseded"));
    EXPECT_NE(test::read_file(run.path("metrics.jsonl")), abandoned); // times differ, if nothing else
}

TEST(run, a_dry_run_says_where_it_would_go_on_and_touches_nothing) {
    RunCase run;
    EXPECT_EQ(run.train(4), ExitCode::stopped);
    const auto listing = [&] {
        std::vector<std::string> files;
        for (const auto& entry : std::filesystem::recursive_directory_iterator(run.path("")))
            if (entry.is_regular_file())
                files.push_back(entry.path().string() + "\n" + test::read_file(entry.path().string()));
        std::sort(files.begin(), files.end());
        return files;
    };
    const auto before = listing();
    run.resume_from("step-00000002");
    EXPECT_EQ(run.dry_run(), ExitCode::ok);
    EXPECT_NE(run.screen().find("would resume: resuming from"), std::string::npos) << run.screen();
    EXPECT_NE(run.screen().find("step-00000002 at step 2"), std::string::npos) << run.screen();
    EXPECT_NE(run.screen().find("validation set same: "), std::string::npos) << run.screen();
    EXPECT_EQ(listing(), before);

    RunCase fresh;
    EXPECT_EQ(fresh.dry_run(), ExitCode::ok);
    EXPECT_NE(fresh.screen().find("would start at step 0"), std::string::npos) << fresh.screen();
    EXPECT_FALSE(std::filesystem::exists(fresh.path("")));
}

TEST(run, a_refused_start_leaves_no_folder) {
    RunCase run;
    run.break_data();
    EXPECT_THROW(run.train(kSteps), Error);
    EXPECT_FALSE(std::filesystem::exists(run.path("")));
}

TEST(run, a_complete_run_is_left_alone) {
    RunCase run;
    EXPECT_EQ(run.train(kSteps), ExitCode::ok);
    const std::string metrics = test::read_file(run.path("metrics.jsonl"));
    EXPECT_EQ(run.train(kSteps), ExitCode::ok);
    EXPECT_EQ(test::read_file(run.path("metrics.jsonl")), metrics);
    EXPECT_EQ(run.record()["starts"].size(), 1u);
}

/// A run whose folder something happens to after two steps, when a checkpoint is there.
std::string refusal_after(RunCase& run, const std::function<void()>& happens) {
    run.when_done(2, happens);
    try {
        run.train(kSteps);
        return "no error";
    } catch (const Error& error) {
        EXPECT_EQ(error.exit_code(), ExitCode::cannot_write);
        return error.what();
    }
}

TEST(run, a_folder_renamed_meanwhile_ends_the_run_whole) {
    RunCase run;
    const std::string path = run.path(""), folder = path.substr(0, path.size() - 1),
                      moved = folder + "-moved";
    const std::string found = refusal_after(run, [&] {
        std::filesystem::rename(folder, moved);
        // Somebody else's run of the same name: nothing may be written into it.
        std::filesystem::create_directory(folder);
    });
    EXPECT_NE(found.find(folder + ": expected the folder that this process locked, found another one"),
              std::string::npos)
        << found;
    EXPECT_EQ(found.find('\n'), std::string::npos) << found;
    EXPECT_TRUE(std::filesystem::is_empty(folder));
    EXPECT_NE(test::read_file(moved + "/log.txt").find("it was renamed"), std::string::npos);
    // Moved back, it goes on.
    std::filesystem::remove(folder);
    std::filesystem::rename(moved, folder);
    EXPECT_EQ(run.train(kSteps), ExitCode::ok) << run.screen();
    EXPECT_EQ(run.steps_of("metrics.jsonl"), kAllSteps);
}

TEST(run, a_folder_removed_meanwhile_ends_the_run) {
    RunCase run;
    const std::string path = run.path(""), folder = path.substr(0, path.size() - 1);
    const std::string found = refusal_after(run, [&] { std::filesystem::remove_all(folder); });
    EXPECT_NE(found.find(folder + ": expected the folder that this process locked, found none"),
              std::string::npos)
        << found;
    EXPECT_FALSE(std::filesystem::exists(folder));
}

} // namespace
} // namespace braid

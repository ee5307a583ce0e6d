// Runs that start from another one's checkpoint: branches, and weights alone.
#include "trainer/start/start.h"

#include <gmock/gmock.h>

#include <cmath>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>

#include "parallel/communicator.h"
#include "tests/data/token_fixture.h"
#include "tests/support/temporary_folder.h"
#include "tests/trainer/checkpoint_fixture.h"
#include "tests/trainer/runs_fixture.h"
#include "trainer/checkpoint/checkpoint_reader.h"
#include "trainer/checkpoint/training_state.h"
#include "trainer/run/run.h"
#include "trainer/run/run_samples.h"
#include "trainer/start/start_state.h"

namespace braid {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using test::Runs;
using test::TemporaryFolder;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

/// Every file below a folder, with what is in it.
std::map<std::string, std::string> content_of(const std::string& folder) {
    std::map<std::string, std::string> content;
    for (const auto& entry : fs::recursive_directory_iterator(folder))
        if (entry.is_regular_file()) content[entry.path()] = test::read_file(entry.path());
    return content;
}

std::map<int64_t, double> after(std::map<int64_t, double> losses, int64_t step) {
    losses.erase(losses.begin(), losses.upper_bound(step));
    return losses;
}

TEST(start, a_branch_that_changes_nothing_is_its_parents_continuation) {
    Runs runs;
    const auto parent = runs.train("parent");
    const auto before = content_of(runs.path("parent"));
    const auto branch = runs.train("branch", {runs.from(runs.checkpoint("parent", 2))});
    EXPECT_EQ(branch, after(parent, 2));
    const CheckpointReader theirs = CheckpointReader::open(runs.checkpoint("parent", 6));
    for (const StoredTensor& stored : theirs.manifest().tensors)
        EXPECT_EQ(runs.tensor("branch", 6, stored.info.name), runs.tensor("parent", 6, stored.info.name));
    EXPECT_EQ(content_of(runs.path("parent")), before);
    const json start = runs.record("branch")["starts"][0];
    EXPECT_EQ(start["parent"], runs.checkpoint("parent", 2));
    EXPECT_EQ(start["start"]["mode"], "branch");
    EXPECT_EQ(start["first_step"], 3);
    EXPECT_THAT(runs.screen(), HasSubstr("branching from " + runs.checkpoint("parent", 2) + " at step 2"));
}

TEST(start, a_branch_is_evaluated_where_it_begins) {
    Runs runs;
    const std::string held = fmt::format("data.validation={{held: {{path: {}}}}}", runs.path("b.h5"));
    const auto line_of = [&](const std::string& name, int64_t step) {
        std::istringstream lines(test::read_file(runs.path(name) + "/metrics.jsonl"));
        for (std::string text; std::getline(lines, text);)
            if (json line = json::parse(text); line["step"] == step) return line;
        return json();
    };
    runs.run("parent", {held, "eval={every: 2, tokens: 32}"});
    const json there = line_of("parent", 2);
    for (const std::string mode : {"branch", "weights"}) {
        runs.run(mode, {runs.from(runs.checkpoint("parent", 2), "mode: " + mode), held,
                        "eval={every: 0, tokens: 32, at_start: true}"});
        const json here = line_of(mode, mode == "branch" ? 2 : 0);
        ASSERT_TRUE(here.contains("eval/held/loss")) << mode;
        EXPECT_EQ(here["eval/held/loss"], there["eval/held/loss"]) << mode;
        EXPECT_FALSE(here.contains("loss")) << mode;
    }
}

TEST(start, a_branch_lives_without_its_parent_and_other_values_of_start) {
    Runs runs;
    const auto parent = runs.train("parent");
    runs.train("branch", {runs.from(runs.checkpoint("parent", 2)), "train.stop_at=4"});
    fs::remove_all(runs.path("parent"));
    EXPECT_EQ(runs.train("branch", {runs.from(runs.path("nowhere"))}), after(parent, 2));
    EXPECT_EQ(runs.train("branch"), after(parent, 2)); // complete, and start left out
}

// Two branches of one config that begin at other checkpoints: no value of the config tells them apart.
TEST(start, a_checkpoint_of_a_sibling_is_not_taken_for_an_own_one) {
    Runs runs;
    runs.train("parent");
    runs.train("early", {runs.from(runs.checkpoint("parent", 2)), "train.steps=8"});
    const auto late =
        runs.train("late", {runs.from(runs.checkpoint("parent", 4)), "train.stop_at=6", "train.steps=8"});
    fs::copy(runs.checkpoint("early", 8), runs.checkpoint("late", 8), fs::copy_options::recursive);
    const std::vector<std::string> more{runs.from(runs.checkpoint("parent", 4)), "train.steps=8",
                                        "train.stop_at=7"};
    EXPECT_EQ(runs.train("late", more).size(), late.size() + 1);
    EXPECT_THAT(runs.screen(),
                HasSubstr("late/checkpoints/step-00000008: was written by a run that began from "
                          "the checkpoint saved as "));
    // A run from nothing has none of a branch either.
    runs.train("other", {"train.steps=8", "train.stop_at=2"});
    fs::copy(runs.checkpoint("early", 8), runs.checkpoint("other", 8), fs::copy_options::recursive);
    runs.train("other", {"train.steps=8", "train.stop_at=4"});
    EXPECT_THAT(runs.screen(), HasSubstr("this one (run.json) began from nothing"));
    EXPECT_EQ(runs.record("other")["starts"][1]["first_step"], 3);
}

TEST(start, another_start_of_a_run_with_checkpoints_is_told_to_have_no_effect) {
    Runs runs;
    runs.train("parent");
    const std::string from = runs.from(runs.checkpoint("parent", 2));
    runs.train("branch", {from, "train.stop_at=4"});
    runs.train("branch", {from, "train.stop_at=5"});
    EXPECT_THAT(runs.screen(), Not(HasSubstr("without effect")));
    runs.train("branch", {runs.from(runs.checkpoint("parent", 4))});
    EXPECT_THAT(runs.screen(), AllOf(HasSubstr("start is without effect"),
                                     HasSubstr("to start from " + runs.checkpoint("parent", 4))));
}

TEST(start, a_position_that_lacks_a_number_is_refused) {
    const std::vector<std::pair<std::set<std::string>, std::string>> cases{
        {{"branch/step", "branch/tokens"}, "branch/sample"},
        {{"branch/sample", "branch/tokens"}, "branch/step"},
        {{"gap/0/before"}, "gap/0/count"},
        {{"gap/0/count"}, "gap/0/before"}};
    for (const auto& [present, missing] : cases) {
        TrainingState state{.step = 5, .sample = 20, .tokens = 100};
        for (const std::string& key : present) state.counters[key] = 1;
        EXPECT_EQ(test::message_of<CheckpointError>([&] { stored_position(state, "it"); }),
                  "it: the training state lacks " + missing);
    }
    Runs runs;
    runs.train("parent", {"train.stop_at=2"});
    TrainingState state = runs.training("parent", 2);
    state.counters.erase("source/1/samples");
    const RunConfig its = runs.config("parent", {});
    RunConfig other = its;
    other.data.train.pop_back();
    TrainLoader loader(other.data, {its.train.sequence_length, its.model.vocab_size});
    EXPECT_EQ(test::message_of<CheckpointError>([&] { branch_position(state, its, loader, "it"); }),
              "it: the training state lacks source/1/samples");
}

TEST(start, a_branch_of_a_branch_goes_on) {
    Runs runs;
    const auto parent = runs.train("parent");
    runs.train("child", {runs.from(runs.checkpoint("parent", 2)), "train.steps=4"});
    EXPECT_EQ(runs.train("grandchild", {runs.from(runs.path("child"))}), after(parent, 4));
}

TEST(start, the_parent_is_chosen_once) {
    Runs runs;
    runs.train("parent", {"train.stop_at=2"});
    const std::vector<std::string> branch{runs.from(runs.path("parent")), "train.stop_at=3"};
    const auto first = runs.train("branch", branch);
    fs::remove_all(runs.path("branch/checkpoints")); // as if killed before the first save
    runs.train("parent");                            // which has newer checkpoints now
    EXPECT_EQ(runs.train("branch", branch), first);
    EXPECT_EQ(runs.record("branch")["starts"][1]["parent"], runs.checkpoint("parent", 2));
}

TEST(start, the_parent_is_chosen_once_behind_a_link_too) {
    Runs runs;
    runs.train("parent", {"train.stop_at=2"});
    runs.train("other", {"seed=9", "train.stop_at=2"});
    const std::string link = runs.path("latest");
    fs::create_directory_symlink(runs.path("parent"), link);
    const std::vector<std::string> branch{runs.from(link), "train.stop_at=4"};
    const auto first = runs.train("branch", branch);
    fs::remove_all(runs.path("branch/checkpoints")); // as if killed before the first save
    fs::remove(link);
    fs::create_directory_symlink(runs.path("other"), link);
    EXPECT_EQ(runs.train("branch", branch), first);
}

TEST(start, a_parent_may_have_any_name) {
    Runs runs;
    const auto parent = runs.train("parent");
    fs::rename(runs.path("parent"), runs.path("two\nlines"));
    EXPECT_EQ(
        runs.train("branch", {runs.from('"' + runs.path("two\\nlines/checkpoints/step-00000002") + '"')}),
        after(parent, 2));
}

TEST(start, a_chosen_parent_that_is_gone_is_told_as_such) {
    Runs runs;
    runs.train("parent");
    const std::vector<std::string> branch{runs.from(runs.path("parent")), "train.steps=8"};
    runs.train("branch", branch);
    fs::remove_all(runs.path("branch/checkpoints")); // as if killed before the first save
    fs::remove_all(runs.checkpoint("parent", 6));    // as the parent does when it keeps its newest only
    try {
        runs.run("branch", branch);
        ADD_FAILURE() << "not refused";
    } catch (const Error& error) {
        EXPECT_EQ(error.exit_code(), ExitCode::checkpoint);
        EXPECT_THAT(error.what(), AllOf(HasSubstr(runs.checkpoint("parent", 6)), HasSubstr("run.json"),
                                        HasSubstr("name another in start.from")));
    }
    runs.train("branch", {runs.from(runs.checkpoint("parent", 4)), "train.steps=8"});
    EXPECT_EQ(runs.record("branch")["starts"][1]["first_step"], 5);
}

TEST(start, steps_of_an_earlier_try_are_no_part_of_a_branch) {
    Runs runs;
    runs.train("parent");
    runs.train("branch", {runs.from(runs.checkpoint("parent", 2)), "optimizer.lr=1e-3", "train.stop_at=5"});
    fs::remove_all(runs.path("branch/checkpoints")); // as if killed before the first save
    const auto losses = runs.train("branch", {runs.from(runs.checkpoint("parent", 4))});
    EXPECT_EQ(losses.begin()->first, 5);
    EXPECT_EQ(losses, after(runs.train("parent"), 4));
}

TEST(start, the_samples_of_a_branch_are_told_before_its_first_checkpoint_too) {
    Runs runs;
    runs.train("parent", {"train.stop_at=2"});
    const std::string data =
        "data.train=[{path: " + runs.path("b.h5") + "}, {path: " + runs.path("a.h5") + "}]";
    const RunConfig config = runs.config("branch", {runs.from(runs.path("parent")), data});
    const auto told = [&] {
        TrainLoader loader(config.data, {config.train.sequence_length, config.model.vocab_size});
        const SamplePosition position = follow_run(loader, config, runs.path("branch/config.yaml"));
        EXPECT_EQ(loader.taken(0), position.skipped);
        return std::pair(position.first_step, position.skipped);
    };
    const auto expected =
        std::pair(int64_t{2}, std::vector<int64_t>{3, 1}); // of b, which weighs twice a, and a
    EXPECT_EQ(told(), expected);
    runs.train("branch", {runs.from(runs.path("parent")), data});
    EXPECT_EQ(told(), expected);
    fs::remove_all(runs.path("branch/checkpoints")); // as before the first save
    EXPECT_EQ(told(), expected);
}

TEST(start, a_decay_follows_the_new_schedule_at_the_parents_step) {
    Runs runs;
    runs.train("parent");
    const auto losses = runs.train(
        "decay", {runs.from(runs.path("parent")), "train.steps=10", "checkpoint.every=1", "checkpoint.keep=0",
                  "optimizer.schedule={type: wsd, decay_steps: 4, decay_shape: linear, warmup_steps: 0}"});
    EXPECT_EQ(losses.begin()->first, 7);
    std::istringstream lines(test::read_file(runs.path("decay/metrics.jsonl")));
    std::vector<double> rates;
    for (std::string line; std::getline(lines, line);) rates.push_back(json::parse(line)["lr"]);
    ASSERT_EQ(rates.size(), 4u);
    // Up to a few units in the last place, which are 2^-60 here.
    for (size_t i = 0; i < 4; ++i) EXPECT_NEAR(rates[i], 1e-2 * static_cast<double>(3 - i) / 4, 0x1p-57);
}

/// The windows of a source that samples [first, first + count) take.
std::vector<int64_t> windows_of(const TrainLoader& loader, int source, int64_t first, int64_t count) {
    std::vector<int64_t> windows;
    for (int64_t sample = first; sample < first + count; ++sample)
        if (loader.locate(sample).source == source) windows.push_back(loader.locate(sample).window);
    return windows;
}

TEST(start, kept_sources_go_on_and_new_ones_begin) {
    const TemporaryFolder folder;
    for (const char name : {'a', 'b', 'c'})
        test::write_counting(folder / fmt::format("{}.h5", name), std::vector<int64_t>(20, 40), name * 1000);
    const auto sources = [&](const std::vector<std::pair<char, double>>& files) {
        DataConfig config;
        for (const auto& [name, weight] : files)
            config.train.push_back({folder / fmt::format("{}.h5", name), weight});
        config.seed = 3;
        return config;
    };
    const LoaderOptions options{16, 1 << 20};
    const TrainLoader parent(sources({{'a', 1}, {'b', 2}}), options);
    TrainingState state{.step = 5, .tokens = 100};
    store_data_identity(state, parent);
    store_position(state, {}, 4, parent); // 20 samples
    EXPECT_EQ(state.sample, 20);

    TrainLoader branch(sources({{'c', 1}, {'b', 1}}), options);
    RunConfig its;
    its.train.sequence_length = 16;
    const SamplePosition position = branch_position(state, its, branch, "test");
    apply_position(position, {}, branch, "test");
    const auto num_taken = static_cast<int64_t>(windows_of(parent, 1, 0, 20).size());
    EXPECT_EQ(position.skipped, (std::vector<int64_t>{0, num_taken}));
    EXPECT_EQ(position.first_step, 5);
    EXPECT_EQ(position.first_sample, 0);
    // b goes on with the windows that the parent would have taken next.
    const auto next = windows_of(parent, 1, 20, 12), now = windows_of(branch, 1, 0, 12);
    for (size_t i = 0; i < std::min(next.size(), now.size()); ++i) EXPECT_EQ(now[i], next[i]) << i;
    // A later branch counts what both took.
    TrainingState later{.step = 8, .tokens = 200};
    store_data_identity(later, branch);
    store_position(later, position, 4, branch);
    const auto more = static_cast<int64_t>(windows_of(branch, 1, 0, 12).size());
    EXPECT_EQ(later.counters.at("source/1/samples"), num_taken + more);
    EXPECT_EQ(later.counters.at("source/0/samples"), 12 - more);
    const SamplePosition again = stored_position(later, "test");
    EXPECT_EQ(again.skipped, position.skipped);
    EXPECT_EQ(again.sample_after(8, 4), later.sample);

    // Windows of another length: the same number of tokens.
    TrainLoader shorter(sources({{'b', 1}}), {8, 1 << 20});
    EXPECT_EQ(branch_position(state, its, shorter, "test").skipped, std::vector<int64_t>{2 * num_taken});
}

TEST(start, another_batch_goes_on_at_the_parents_sample) {
    Runs runs;
    runs.train("parent", {"train.stop_at=2"});
    runs.train("branch", {runs.from(runs.path("parent")), "train.global_batch=3", "train.steps=4"});
    EXPECT_EQ(runs.training("branch", 4).sample, 2 * 2 + 2 * 3);
    runs.train("branch", {"train.global_batch=3", "train.steps=6"}); // resumes, at a position of its own
    EXPECT_EQ(runs.training("branch", 6).sample, 2 * 2 + 4 * 3);
}

TEST(start, state_that_begins_in_a_branch_has_its_own_count_of_adam) {
    Runs runs;
    runs.train("parent", {"train.stop_at=4", "train.freeze=['layers.0.*']"});
    EXPECT_THROW(runs.tensor("parent", 4, "optimizer/exp_avg/layers.0.dense.up.weight"), CheckpointError);
    const std::vector<std::string> thawed{runs.from(runs.path("parent")), "checkpoint.every=1",
                                          "checkpoint.keep=0", "optimizer.clip=0", "train.steps=8"};
    runs.train("thawed", thawed);
    EXPECT_THAT(runs.screen(), HasSubstr("the optimizer's state of "));
    // The first step of Adam moves every element by lr |g| / (|g| + eps), whatever its gradient.
    const auto before = runs.tensor("parent", 4, "model/layers.0.dense.up.weight"),
               behind = runs.tensor("thawed", 5, "model/layers.0.dense.up.weight"),
               moment = runs.tensor("thawed", 5, "optimizer/exp_avg/layers.0.dense.up.weight");
    // The difference of two f64 values below 2, each rounded by up to 2^-53; what the update itself
    // loses, a few units of 1e-2, is a tenth of that.
    constexpr double kRounding = 2.5 * 0x1p-53;
    int moved = 0;
    for (size_t i = 0; i < before.size(); ++i) {
        const double gradient = std::abs(moment[i]) / 0.1; // beta1 is 0.9
        if (gradient < 1e-5) continue;
        ++moved;
        EXPECT_NEAR(std::abs(behind[i] - before[i]), 1e-2 * gradient / (gradient + 1e-8), kRounding) << i;
    }
    EXPECT_GT(moved, 20);
    // What had state goes on with its count: resuming in the middle changes nothing.
    std::vector<std::string> stopped = thawed;
    stopped.push_back("train.stop_at=6");
    runs.train("stopped", stopped);
    runs.train("stopped", thawed);
    for (const char* name : {"model/layers.0.dense.up.weight", "model/layers.1.dense.up.weight"})
        EXPECT_EQ(runs.tensor("stopped", 8, name), runs.tensor("thawed", 8, name));
}

TEST(start, a_branch_may_not_make_another_model) {
    Runs runs;
    runs.train("parent", {"train.stop_at=2"});
    const std::string from = runs.from(runs.path("parent"));
    EXPECT_THAT(runs.refusal("x", {from, "model.norm.eps=1e-5"}),
                AllOf(HasSubstr("2: a branch of "), HasSubstr("model.norm.eps: 1.0e-6 there, 1.0e-5 now")));
    EXPECT_THAT(runs.refusal("x", {from, "optimizer.type=muon", "model.hidden_size=16"}),
                AllOf(HasSubstr("optimizer.type: adamw there"), HasSubstr("model.hidden_size: 8 there")));
    EXPECT_THAT(runs.refusal("x", {from, "train.steps=2"}), HasSubstr("2: train.steps: "));
    EXPECT_THAT(runs.refusal("x", {from, "train.stop_at=1"}), HasSubstr("2: train.stop_at: "));
    EXPECT_THAT(runs.refusal("x", {runs.from(runs.path("nowhere"))}),
                AllOf(HasSubstr("4: start.from: "), HasSubstr("nowhere")));
    fs::create_directory(runs.path("empty"));
    EXPECT_THAT(runs.refusal("x", {runs.from(runs.path("empty"))}), HasSubstr("4: start.from: "));
    // These it may.
    runs.train("branch", {from, "model.head.z_loss=1e-4", "optimizer.lr=1e-3", "optimizer.weight_decay=0.1",
                          "optimizer.betas=[0.8, 0.9]", "train.precision=f32", "train.sequence_length=8",
                          "train.micro_batch=1", "seed=9"});
    EXPECT_EQ(runs.training("branch", 6).step, 6);
}

TEST(start, a_branch_may_weigh_the_router_s_losses_otherwise) {
    const auto with_router = [](const std::string& router) {
        return parse_run_config(
            "name: small\n"
            "model: {vocab_size: 256, hidden_size: 8, pattern: moe, sublayers: {moe: {type: moe, "
            "num_experts: 4, "
            "experts_per_token: 2, expert_size: 8, router: {" +
                router +
                "}}}}\n"
                "train: {steps: 6, sequence_length: 16, global_batch: 2}\n"
                "data: {train: [{path: a.h5}]}\n",
            "test");
    };
    const RunConfig parent = with_router("aux_loss: 0.1, aux_scope: global, z_loss: 0.1");
    const auto keys = [&](const std::string& router) {
        std::vector<std::string> found;
        for (const auto& difference : forbidden_in_branch(parent, with_router(router)))
            found.push_back(difference.key);
        return found;
    };
    EXPECT_EQ(keys("aux_loss: 0.2, aux_scope: global"), std::vector<std::string>{});
    EXPECT_EQ(keys("z_loss: 0.1"), std::vector<std::string>{}); // no aux_loss, and so no scope of it
    EXPECT_EQ(keys("aux_loss: 0.1, aux_scope: sequence, z_loss: 0.1"),
              std::vector<std::string>{"model.sublayers.moe.router.aux_scope"});
    EXPECT_EQ(keys("aux_loss: 0.1, aux_scope: global, z_loss: 0.1, bias_update_rate: 0.1"),
              std::vector<std::string>{"model.sublayers.moe.router.bias_update_rate"});
    // In single layers too, spelled there or not.
    const auto keys_of_edit = [&](const std::string& set) {
        RunConfig branch = parent;
        branch.model.layers = {
            {"0", {}, {{"moe.router." + set.substr(0, set.find(':')), set.substr(set.find(' ') + 1)}}}};
        std::vector<std::string> found;
        for (const auto& difference : forbidden_in_branch(parent, branch)) found.push_back(difference.key);
        return found;
    };
    EXPECT_EQ(keys_of_edit("aux_loss: 0.2"), std::vector<std::string>{});
    EXPECT_EQ(keys_of_edit("z_loss: 0"), std::vector<std::string>{});
    EXPECT_EQ(keys_of_edit("scale: 2"),
              (std::vector<std::string>{"model.layers.0.at", "model.layers.0.set.moe.router.scale"}));
}

TEST(start, a_dry_run_says_what_a_start_would_do_and_leaves_nothing) {
    Runs runs;
    runs.train("parent", {"train.stop_at=2"});
    runs.run("branch", {runs.from(runs.path("parent"))}, true);
    EXPECT_THAT(runs.screen(), HasSubstr("would start: branching from " + runs.checkpoint("parent", 2)));
    EXPECT_FALSE(fs::exists(runs.path("branch")));
}

TEST(start, a_damaged_newest_checkpoint_is_passed_over) {
    Runs runs;
    runs.train("parent");
    test::write_file(runs.checkpoint("parent", 6) + "/manifest.json", "{}");
    runs.train("branch", {runs.from(runs.path("parent"))});
    EXPECT_EQ(runs.record("branch")["starts"][0]["first_step"], 5);
    EXPECT_THAT(runs.screen(), HasSubstr("skipped " + runs.checkpoint("parent", 6)));
}

TEST(start, weights_alone_begin_a_new_run) {
    Runs runs;
    runs.train("parent");
    const std::string from = runs.from(runs.path("parent"), "mode: weights");
    runs.train("tuned", {from, "train.freeze=['*']", "train.precision=f32", "model.norm.eps=1e-5"});
    const auto theirs = runs.tensor("parent", 6, "model/layers.1.dense.up.weight"),
               ours = runs.tensor("tuned", 2, "model/layers.1.dense.up.weight");
    ASSERT_EQ(ours.size(), theirs.size());
    for (size_t i = 0; i < ours.size(); ++i) EXPECT_EQ(ours[i], static_cast<float>(theirs[i]));
    EXPECT_EQ(runs.record("tuned")["starts"][0]["first_step"], 1);
    EXPECT_EQ(runs.training("tuned", 2).sample, 4);
    EXPECT_THAT(runs.screen(),
                HasSubstr("starting with the weights of " + runs.checkpoint("parent", 6) + " (step 6)"));
}

TEST(start, weights_by_other_names_and_what_is_missing_or_left_over) {
    Runs runs;
    runs.train("parent");
    const std::string three = "model.pattern='dense, dense, dense'", still = "train.freeze=['*']";
    const auto weights = [&](const std::string& more) {
        return runs.from(runs.path("parent"), "mode: weights" + more);
    };
    EXPECT_THAT(runs.refusal("x", {weights(""), three}),
                AllOf(HasSubstr("2: start.from: the checkpoint lacks "), HasSubstr("layers.2.dense")));
    EXPECT_THAT(runs.refusal("x", {weights(""), "model.pattern=dense"}),
                AllOf(HasSubstr("2: start.from: the checkpoint has "), HasSubstr("layers.1.dense")));
    EXPECT_THAT(runs.refusal("x", {weights(", map: {layers.7: layers.1}")}),
                HasSubstr("2: start.map.layers.7: no tensor"));
    EXPECT_THAT(runs.refusal("x", {weights(""), "model.sublayers.dense.size=16"}),
                HasSubstr("have another shape than in the model: layers.0.dense"));
    EXPECT_THAT(
        runs.refusal("x", {weights(", missing: random, map: {layers.0: layer.1}")}),
        HasSubstr("2: start.map.layers.0: the checkpoint has no tensor of the name or prefix layer.1"));
    // A part of a name is no prefix: layers.1 is not layers.10.
    EXPECT_THAT(runs.refusal("x", {weights(", map: {layer: layers}")}), HasSubstr("start.map.layer: "));

    const std::string up = "model/layers.{}.dense.up.weight";
    const auto of = [&](const std::string& name, int64_t step, int layer) {
        return runs.tensor(name, step, fmt::format(fmt::runtime(up), layer));
    };
    runs.train("grown", {weights(", map: {layers.2: layers.0}"), three, still});
    EXPECT_EQ(of("grown", 2, 2), of("parent", 6, 0));
    EXPECT_EQ(of("grown", 2, 1), of("parent", 6, 1));
    runs.train("random", {weights(", missing: random"), three, still});
    runs.train("fresh", {three, still});
    EXPECT_EQ(of("random", 2, 2), of("fresh", 2, 2));
    EXPECT_EQ(of("random", 2, 0), of("parent", 6, 0));
    runs.train("cut", {weights(", surplus: drop, map: {layers.0: layers.1}"), "model.pattern=dense", still});
    EXPECT_EQ(of("cut", 2, 0), of("parent", 6, 1));
    EXPECT_THAT(runs.screen(), AllOf(HasSubstr(" tensors keep their initial values: layers.2.dense"),
                                     HasSubstr(" tensors of the checkpoint are left out: layers.0.dense")));
}

// Which layer counts depends on the scope of its balancing loss, which a new run may choose anew.
TEST(start, counts_of_the_step_before_are_no_weights) {
    const TensorInfo weight{"model/router.weight", TensorKind::parameter, DType::f32, {2, 3}},
        bias{"buffer/router.bias", TensorKind::buffer, DType::f32, {2}},
        counts{"buffer/router.previous_counts", TensorKind::buffer, DType::i64, {2}};
    const std::map<std::string, std::string> both = {{bias.name, bias.name}, {weight.name, weight.name}};
    Manifest with, without; // by name
    with.tensors = {{bias, {}}, {counts, {}}, {weight, {}}};
    without.tensors = {{bias, {}}, {weight, {}}};
    const StartConfig refuses{.mode = StartMode::weights};
    for (const Manifest& checkpoint : {with, without})
        for (const auto& model : {std::vector{weight, bias, counts}, std::vector{weight, bias}}) {
            const WeightPlan plan = plan_weights(model, checkpoint, refuses);
            EXPECT_EQ(plan.sources, both);
            EXPECT_TRUE(plan.missing.empty() && plan.surplus.empty());
        }
    without.tensors = {{weight, {}}}; // a bias is a weight
    EXPECT_THROW(plan_weights({weight, bias}, without, refuses), ConfigError);
}

TEST(start, positions_no_run_can_have_are_refused) {
    TrainingState state{.step = 10, .sample = 20, .tokens = 300};
    state.counters = {{"branch/step", 0},
                      {"branch/sample", 0},
                      {"branch/tokens", 0},
                      {"gap/0/before", 0},
                      {"gap/0/count", 0}};
    EXPECT_EQ(stored_position(state, "test").gaps.size(), 1u);
    for (const auto& [key, value] :
         std::vector<std::pair<std::string, int64_t>>{{"branch/step", 11},
                                                      {"branch/step", -1},
                                                      {"branch/sample", 21},
                                                      {"branch/tokens", 301},
                                                      {"source/0/skipped", -1},
                                                      {"source/0/skipped", INT64_MAX},
                                                      {"gap/0/count", -1},
                                                      {"gap/0/count", INT64_MAX}}) {
        TrainingState forged = state;
        forged.counters[key] = value;
        EXPECT_THROW(stored_position(forged, "test"), CheckpointError) << key;
    }
    // Left out before a sample that is none of the branch's parents.
    TrainingState late = state;
    late.counters["branch/sample"] = 4;
    late.counters["gap/0/before"] = 4;
    EXPECT_EQ(stored_position(late, "test").gaps[0].before, 4);
    late.counters["gap/0/before"] = 5;
    EXPECT_THROW(stored_position(late, "test"), CheckpointError);
    // Those from which a sum with the steps to come would overflow.
    for (const std::string what : {"sample", "tokens"}) {
        TrainingState forged = state;
        (what == "sample" ? forged.sample : forged.tokens) = INT64_MAX;
        forged.counters["branch/" + what] = INT64_MAX - 20;
        EXPECT_THROW(stored_position(forged, "test"), CheckpointError) << what;
    }
    state.counters["first_step/embedding.weight"] = 11;
    EXPECT_THROW(stored_first_steps(state, "test"), CheckpointError);
}

TEST(start, keys_of_one_mode_are_pointless_in_the_other) {
    Runs runs;
    for (const std::string more : {"missing: random", "surplus: drop", "map: {a: b}"})
        EXPECT_THROW(runs.config("x", {runs.from("y", "mode: branch, " + more)}), ConfigError) << more;
    EXPECT_THROW(runs.config("x", {"start={from: y}"}), ConfigError);
    EXPECT_THROW(runs.config("x", {"start={mode: branch}"}), ConfigError);
}

} // namespace
} // namespace braid

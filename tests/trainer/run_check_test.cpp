#include "trainer/config/run_check.h"

#include "tests/data/token_fixture.h"
#include "tests/support/config_text.h"
#include "tests/support/temporary_folder.h"

namespace braid::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::StartsWith;

const std::string kGroups =
    "optimizer.groups=[{role: bias, lr_scale: 0}, {role: norm, lr_scale: 2}, {name: 'layers.9.*', lr_scale: "
    "2}]";

RunConfig run_with(const std::vector<std::string>& overrides) {
    return parse_run_config(kHybridRun, "run.yaml", overrides);
}

/// Overrides that put the run's data into this folder: good.h5, and none.h5, which does not exist.
std::vector<std::string> data_in(const test::TemporaryFolder& folder, const std::string& train) {
    return {"data.train=[{path: " + (folder / train) + "}]",
            "data.validation.web.path=" + (folder / "good.h5"), "model.vocab_size=256"};
}

std::string message_of(const std::function<void()>& body, ExitCode expected) {
    try {
        body();
    } catch (const Error& error) {
        EXPECT_EQ(error.exit_code(), expected) << error.what();
        return error.what();
    }
    ADD_FAILURE() << "no error";
    return "";
}

TEST(run_check, names_all_faults_of_groups_layout_and_data) {
    const test::TemporaryFolder folder;
    test::write_texts(folder / "good.h5", {std::string(200, 'a')});
    test::write_file(folder / "text.h5", "no token file");
    std::vector<std::string> overrides = data_in(folder, "good.h5");
    EXPECT_TRUE(find_run_faults(run_with(overrides), 2).empty());
    overrides.insert(overrides.end(),
                     {kGroups, "parallel.tensor=3",
                      "data.train=[{path: " + (folder / "none.h5") + "}, {path: " + (folder / "good.h5") +
                          "}, {path: " + (folder / "text.h5") + "}]"});
    const RunFaults faults = find_run_faults(run_with(overrides), 3);
    ASSERT_GE(faults.config.size(), 4u);
    const std::string text = faults.text();
    for (const std::string part :
         {"num_key_heads: 2 cannot be shared out", "num_heads: 4 cannot be shared out", "optimizer.groups[0]",
          "optimizer.groups[2]", "none.h5", "text.h5"})
        EXPECT_THAT(text, HasSubstr(part));
    EXPECT_THAT(text, ::testing::Not(HasSubstr("optimizer.groups[1]")));
    EXPECT_THAT(faults.data, ElementsAre(HasSubstr("none.h5"), HasSubstr("text.h5")));
    EXPECT_EQ(message_of([&] { faults.raise(); }, ExitCode::usage), text);
    EXPECT_EQ(message_of([&] { expect_run_starts(run_with(overrides), 3); }, ExitCode::usage), text);
}

TEST(run_check, data_alone_is_a_fault_of_data) {
    const test::TemporaryFolder folder;
    test::write_texts(folder / "good.h5", {std::string(200, 'a')});
    const RunConfig run = run_with(data_in(folder, "none.h5"));
    message_of([&] { find_run_faults(run, 1).raise(); }, ExitCode::data);
    EXPECT_NO_THROW(expect_run_starts(run, 1)) << "the loaders open the files, and once only";
}

TEST(run_check, a_faulty_file_is_checked_as_far_as_its_faults_reach) {
    const test::TemporaryFolder folder;
    test::write_texts(folder / "good.h5", {std::string(200, 'a')});
    test::write_file(folder / "run.yaml", kHybridRun);
    std::vector<std::string> overrides = data_in(folder, "none.h5");
    overrides.insert(overrides.end(), {kGroups, "parallel.tensor=3", "log.evry=3"});
    const auto faults_with = [&](const std::string& override) {
        auto all = overrides;
        all.push_back(override);
        return find_file_faults(read_run_file(folder / "run.yaml", all), 0, true).text();
    };
    const auto expect_parts = [](const std::string& text, const std::vector<std::string>& parts) {
        for (const std::string& part : parts) EXPECT_THAT(text, HasSubstr(part));
    };
    const std::string all = faults_with("log.every=1");
    expect_parts(all, {"log.evry: unknown key", "num_key_heads: 2", "optimizer.groups[2]", "none.h5"});
    for (const std::string override : {"train.sequence_length=0.5", "train.stop_at=1000"}) {
        const std::string text = faults_with(override);
        expect_parts(text, {"log.evry: unknown key", override.substr(0, override.find('=')),
                            "optimizer.groups[0]", "none.h5"});
        EXPECT_THAT(text, ::testing::Not(HasSubstr("cannot be shared out"))) << "the batch may be wrong";
    }
    expect_parts(faults_with("model.hiden_size=3"), {"log.evry", "model.hiden_size: unknown key", "none.h5"});
    expect_parts(faults_with("optimizer.lr=nan"), {"optimizer.lr: expected", "num_key_heads: 2", "none.h5"});
}

TEST(run_check, fewest_ranks_fit_the_layout) {
    EXPECT_EQ(fewest_ranks({}), 1);
    EXPECT_EQ(fewest_ranks({.tensor = 2, .expert = 3, .expert_tensor = 2}), 6);
    EXPECT_EQ(fewest_ranks({.data = 3, .tensor = 2, .expert = 2}), 6);
    const test::TemporaryFolder folder;
    test::write_file(folder / "run.yaml", kHybridRun);
    for (const std::string sizes : {"parallel={tensor: 65536, expert: 65521, expert_tensor: 65519}",
                                    "parallel={tensor: 65536, data: 1048576}"})
        EXPECT_THAT(find_file_faults(read_run_file(folder / "run.yaml", {sizes}), 0, false).text(),
                    StartsWith("parallel: expected sizes that 1048576 ranks can have"));
}

TEST(run_check, warns_of_a_router_without_gradient) {
    EXPECT_THAT(run_warnings(run_with({})), IsEmpty());
    const std::string top1 = "model.sublayers.moe.experts_per_token=1";
    EXPECT_THAT(run_warnings(run_with({top1})),
                ElementsAre(::testing::AllOf(StartsWith("model.sublayers.moe.router.normalize: "),
                                             HasSubstr("router no gradient and it learns from its balancing"),
                                             HasSubstr("router.normalize=false"))));
    EXPECT_THAT(run_warnings(run_with({top1, "model.sublayers.moe.router.aux_loss=0",
                                       "model.sublayers.moe.router.aux_scope=null"})),
                ElementsAre(HasSubstr("router no gradient; set")));
    EXPECT_THAT(run_warnings(run_with({top1, "model.sublayers.moe.router.normalize=false"})), IsEmpty());
    EXPECT_THAT(run_warnings(run_with({top1, "model.sublayers.moe.num_experts=1"})), IsEmpty());
}

TEST(run_check, warns_of_an_override_that_changes_the_depth) {
    const test::TemporaryFolder folder;
    test::write_file(folder / "tiled.yaml", kHybridRun);
    std::string text = kHybridRun;
    text.erase(text.find("  num_layers: 4\n"), std::string("  num_layers: 4\n").size());
    test::write_file(folder / "whole.yaml", text);
    const auto warnings = [&](const std::string& name, const std::vector<std::string>& overrides) {
        const std::string path = folder / name;
        return override_warnings(read_run_config(path, overrides), path, overrides);
    };
    const std::string ratio = "model.pattern=gdn+moe, attn+moe";
    EXPECT_THAT(warnings("whole.yaml", {ratio}),
                ElementsAre(::testing::AllOf(HasSubstr("whole.yaml has 4 layer(s), with the override 2;"),
                                             HasSubstr("model.num_layers=4"))));
    EXPECT_THAT(warnings("whole.yaml", {ratio, "model.num_layers=4"}), IsEmpty());
    EXPECT_THAT(warnings("whole.yaml", {"model.pattern=(gdn+moe, attn+moe)*2"}), IsEmpty());
    EXPECT_THAT(warnings("whole.yaml", {"seed=3"}), IsEmpty());
    EXPECT_THAT(warnings("tiled.yaml", {ratio}), IsEmpty());
}

} // namespace
} // namespace braid::testing

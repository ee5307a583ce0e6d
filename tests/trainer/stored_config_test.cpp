// The config in a stranger's checkpoint opens no file and shows nothing of the environment.
#include "trainer/checkpoint/stored_config.h"

#include <cstdlib>

#include "tests/trainer/checkpoint_fixture.h"
#include "trainer/inference/inference.h"
#include "trainer/start/resume.h"

namespace braid {
namespace {

using test::PretendedRun;
using test::TemporaryFolder;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr const char* kRun =
    "name: small\n"
    "model: {vocab_size: 256, hidden_size: 8, pattern: dense, sublayers: {dense: {type: mlp, size: 8}}}\n"
    "train: {steps: 20, sequence_length: 16, global_batch: 2}\n"
    "data: {train: [{path: tokens.h5}]}\n";

/// Saves a checkpoint whose config is this text.
std::string save_with(const std::string& folder, const std::string& config) {
    const PretendedRun run(5);
    CheckpointContent content = run.content();
    content.config = config;
    content.training.data = {{"tokenizer/name", "bytes"},
                             {"tokenizer/sha256", make_tokenizer("bytes")->identity().sha256}};
    return save_checkpoint(folder, test::shards_of_rank(run.tensors, 0, 1), content, 0,
                           [](const std::string& text) { return std::vector{text}; }, {0, 512});
}

/// What each reader of a checkpoint's config says of this one.
std::vector<std::string> refusals(const std::string& config) {
    const TemporaryFolder folder;
    const std::string path = save_with(folder.path(), config);
    CheckpointReader::open(path).verify();
    const RunConfig own = parse_run_config(kRun, "own");
    std::vector<std::string> found{
        test::message_of<CheckpointError>(
            [&] { stored_run_config(CheckpointReader::open(path).manifest(), path); }),
        test::message_of<CheckpointError>([&] { const InferenceModel model(path); })};
    for (const std::string& resume : {std::string("auto"), path})
        found.push_back(test::message_of<CheckpointError>(
            [&] { find_resume_point(own, resume, StoredRun{to_yaml(own)}, folder.path()); }));
    return found;
}

TEST(stored_config, extends_is_refused_and_not_followed) {
    const TemporaryFolder folder;
    test::write_file(folder / "base.yaml", "not: [closed");
    for (const std::string& file : {folder / "base.yaml", std::string("/dev/zero")})
        for (const std::string& found : refusals("extends: " + file + "\n" + kRun))
            EXPECT_THAT(found,
                        AllOf(HasSubstr("step-00000005, its config:1:10: extends: expected no such key"),
                              HasSubstr(file), Not(HasSubstr("not valid YAML"))));
}

TEST(stored_config, variables_are_refused_and_not_looked_up) {
    ASSERT_EQ(::setenv("BRAID_TEST_SECRET", "hidden", 1), 0);
    const std::string config = std::string(kRun) + "run_dir: \"${BRAID_TEST_SECRET}\"\n";
    for (const std::string& found : refusals(config))
        EXPECT_THAT(found, AllOf(HasSubstr("step-00000005, its config:5:10: expected $${"),
                                 HasSubstr("${BRAID_TEST_SECRET}"), Not(HasSubstr("hidden"))));
}

TEST(stored_config, what_is_no_config_is_a_checkpoint_refused) {
    for (const std::string& config : {std::string("- 1\n"), std::string("name: small\n"),
                                      std::string(kRun) + "unknown_key: 1\n", std::string(1 << 16, '[')})
        for (const std::string& found : refusals(config)) EXPECT_THAT(found, HasSubstr("its config"));
}

TEST(stored_config, what_a_run_stores_reads_back) {
    const RunConfig run = parse_run_config(std::string(kRun) + "run_dir: \"a$${b}\"\n", "run");
    EXPECT_EQ(run.run_dir, "a${b}");
    EXPECT_EQ(parse_stored_config(to_yaml(run), "stored"), run);
}

// The model of a forged config is held against the tensors before memory is taken: this one has 8 TiB.
TEST(stored_config, a_forged_model_takes_no_memory) {
    std::string config = kRun;
    config.replace(config.find("hidden_size: 8"), 14, "hidden_size: 1048576");
    config.replace(config.find("size: 8}"), 8, "size: 1048576}");
    const TemporaryFolder folder;
    const std::string path = save_with(folder.path(), config);
    EXPECT_THAT(test::message_of<CheckpointError>([&] { const InferenceModel model(path); }),
                HasSubstr("tensors of the model are missing"));
}

} // namespace
} // namespace braid

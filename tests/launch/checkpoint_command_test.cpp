// braid checkpoint list, info, verify and diff: what they print and their exit codes.
#include "launch/commands.h"
#include "tests/trainer/checkpoint_fixture.h"

namespace braid {
namespace {

namespace fs = std::filesystem;
using test::PretendedRun;
using test::TemporaryFolder;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

struct Result {
    ExitCode code;
    std::string output; // or the error's message
};

// As main does, but for printing the error.
Result braid_checkpoint(const std::vector<std::string>& arguments) {
    const CommandLine command_line("braid", "", "");
    CommandRun action;
    add_checkpoint_command(command_line.root(), action);
    std::vector<const char*> words{"braid", "checkpoint"};
    for (const std::string& argument : arguments) words.push_back(argument.c_str());
    if (const auto refused = command_line.parse(static_cast<int>(words.size()), words.data()))
        return {*refused, ""};
    ::testing::internal::CaptureStdout();
    try {
        const ExitCode code = action();
        return {code, ::testing::internal::GetCapturedStdout()};
    } catch (const Error& error) {
        ::testing::internal::GetCapturedStdout();
        return {error.exit_code(), error.what()};
    }
}

TEST(checkpoint_command, list_shows_valid_and_invalid_ones) {
    const TemporaryFolder folder;
    const std::string checkpoints = folder / "checkpoints";
    test::save(checkpoints, PretendedRun(10), 2);
    test::save(checkpoints, PretendedRun(20));
    fs::remove(checkpoints + "/step-00000020/index.h5");
    const Result result = braid_checkpoint({"list", folder.path()});
    EXPECT_EQ(result.code, ExitCode::ok);
    EXPECT_THAT(result.output, AllOf(HasSubstr("step-00000010"), HasSubstr("80000"),
                                     HasSubstr("20 invalid: "), HasSubstr("'index.h5' is missing")));
    const TemporaryFolder empty;
    EXPECT_THAT(braid_checkpoint({"list", empty.path()}).output, HasSubstr("no checkpoints"));
    EXPECT_EQ(braid_checkpoint({"list", folder / "absent"}).code, ExitCode::checkpoint);
}

TEST(checkpoint_command, info_prints_the_state_and_on_request_tensors_and_config) {
    const TemporaryFolder folder;
    test::save(folder / "checkpoints", PretendedRun(10), 2);
    const Result brief = braid_checkpoint({"info", folder.path()});
    EXPECT_EQ(brief.code, ExitCode::ok);
    EXPECT_THAT(brief.output,
                AllOf(HasSubstr("step: 10\n"), HasSubstr("sample: 160\n"), HasSubstr("mesh/data: 2\n"),
                      HasSubstr("data/corpus.h5: f00d\n"), HasSubstr("parameter_tensors: 4\n"),
                      HasSubstr("parameter_elements: 614\n"), Not(HasSubstr("norm.weight"))));
    EXPECT_THAT(braid_checkpoint({"info", "--tensors", folder.path()}).output,
                HasSubstr("parameter  f32        1 [37]                 model/norm.weight\n"));
    EXPECT_THAT(braid_checkpoint({"info", "--config", folder.path()}).output,
                HasSubstr("name: pretended\nseed: 7\n"));
}

TEST(checkpoint_command, verify_says_what_is_wrong) {
    const TemporaryFolder folder;
    const std::string path = test::save(folder.path(), PretendedRun(10));
    EXPECT_EQ(braid_checkpoint({"verify", path}).code, ExitCode::ok);
    std::string content = test::read_file(path + "/index.h5");
    content[content.size() / 2] ^= 1;
    test::write_file(path + "/index.h5", content);
    const Result result = braid_checkpoint({"verify", path});
    EXPECT_EQ(result.code, ExitCode::checkpoint);
    EXPECT_THAT(result.output, HasSubstr("index.h5: the content was changed"));
}

TEST(checkpoint_command, diff_tells_equal_from_different_from_unreadable) {
    const TemporaryFolder folder;
    const PretendedRun run(10);
    const std::string a = test::save(folder / "a", run), same = test::save(folder / "b", run, 3, 3, 1);
    for (const NamedTensor& tensor : run.tensors)
        if (tensor.info.name == "model/scale") tensor.value.data<float>()[0] = 1e9f;
    const std::string other = test::save(folder / "c", run);

    const Result equal = braid_checkpoint({"diff", a, same});
    EXPECT_EQ(equal.code, ExitCode::ok);
    EXPECT_THAT(equal.output, HasSubstr("equal: step 10"));
    const Result different = braid_checkpoint({"diff", a, other});
    EXPECT_EQ(static_cast<int>(different.code), 1);
    EXPECT_THAT(different.output, HasSubstr("1 tensors differ; worst: model/scale, error 1.000e+00"));
    fs::remove(other + "/rank-00000.h5");
    EXPECT_EQ(braid_checkpoint({"diff", a, other}).code, ExitCode::checkpoint);
    EXPECT_EQ(braid_checkpoint({"diff", folder / "nowhere", a}).code, ExitCode::checkpoint);
}

} // namespace
} // namespace braid

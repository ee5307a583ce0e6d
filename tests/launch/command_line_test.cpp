#include "launch/command_line.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace braid {
namespace {

using testing::HasSubstr;

/// A program with one command of each kind of option.
struct Program {
    CommandLine line{"program", "help", "1"};
    int64_t whole = 0;
    uint64_t seed = 0;
    double number = 0;
    std::vector<int32_t> list;
    std::string device = "auto";
    Option option;

    Program() : option(add()) {}

    Option add() {
        const Command run = line.root().subcommand("run", "help");
        run.option("--seed", seed, "help");
        run.option("--number", number, "help").range(0.0, 2000.0);
        run.option("--list", list, "help");
        run.option("--device", device, "help").one_of({"auto", "cpu", "cuda"});
        const Command group = line.root().subcommand("group", "help");
        group.require_subcommand();
        group.subcommand("check", "help");
        group.subcommand("show", "help");
        return run.option("--whole", whole, "help").range(int64_t{-5}, int64_t{5000});
    }

    /// What is said of a refused command line; "" for one that is taken.
    std::string refusal(std::vector<const char*> words) {
        words.insert(words.begin(), "program");
        ::testing::internal::CaptureStderr();
        const auto code = line.parse(static_cast<int>(words.size()), words.data());
        const std::string text = ::testing::internal::GetCapturedStderr();
        EXPECT_EQ(code.has_value(), !text.empty());
        if (code) {
            EXPECT_EQ(*code, ExitCode::usage);
        }
        return text;
    }
};

TEST(command_line, numbers_are_decimal_and_read_to_their_end) {
    Program program;
    EXPECT_EQ(
        program.refusal({"run", "--whole", "12", "--seed", "18446744073709551615", "--number", "1.5e3"}), "");
    EXPECT_EQ(program.whole, 12);
    EXPECT_EQ(program.seed, UINT64_MAX);
    EXPECT_EQ(program.number, 1500);
    EXPECT_TRUE(program.option.given());
    for (const char* word :
         {"0x10", "010", "0b1", "12x", "1 2", "1.5", "", "1'000", "99999999999999999999", "nan"}) {
        EXPECT_THAT(Program().refusal({"run", "--whole", word}),
                    HasSubstr("--whole: expected a whole number"))
            << word;
        EXPECT_THAT(Program().refusal({"run", "--seed", word}), HasSubstr("--seed: expected a whole number"))
            << word;
    }
    EXPECT_THAT(Program().refusal({"run", "--seed", "-1"}), HasSubstr("--seed: expected a whole number"));
    EXPECT_THAT(Program().refusal({"run", "--whole", "1e3"}), HasSubstr("did you mean 1000?"));
    EXPECT_THAT(Program().refusal({"run", "--whole", "1_000"}), HasSubstr("did you mean 1000?"));
    EXPECT_THAT(Program().refusal({"run", "--whole", "6000"}), HasSubstr("5000"));
    for (const char* word : {"0x1p3", "1.5x", "inf", "nan", "1,5", "", "1e999"})
        EXPECT_THAT(Program().refusal({"run", "--number", word}), HasSubstr("--number: expected a number"))
            << word;
}

TEST(command_line, lists_are_checked_whole) {
    Program program;
    EXPECT_EQ(program.refusal({"run", "--list", "1,20,2147483647"}), "");
    EXPECT_EQ(program.list, (std::vector<int32_t>{1, 20, 2147483647}));
    for (const char* word :
         {"1,,2", "1,2,", ",1", "1,2x", "1,0x2", "1,2147483648", "4294967297", "1;2", "-1", ""})
        EXPECT_THAT(Program().refusal({"run", "--list", word}), HasSubstr("--list: in the list")) << word;
}

TEST(command_line, unknown_words_are_named_with_the_nearest_right_one) {
    EXPECT_THAT(Program().refusal({"rnu"}), HasSubstr("program: unknown command rnu; did you mean run?"));
    EXPECT_THAT(Program().refusal({"zzzzzz"}),
                HasSubstr("unknown command zzzzzz; expected one of run or group"));
    EXPECT_THAT(Program().refusal({"group", "chekc"}),
                HasSubstr("program group: unknown command chekc; did you mean check?"));
    EXPECT_THAT(Program().refusal({"run", "--sed", "3"}),
                HasSubstr("program run: unknown option --sed; did you mean --seed?"));
    EXPECT_THAT(Program().refusal({"run", "--sed=3"}), HasSubstr("did you mean --seed?"));
    EXPECT_THAT(Program().refusal({"run", "more"}), HasSubstr("program run: unexpected argument more"));
    EXPECT_THAT(Program().refusal({"run", "--device", "gpu"}),
                HasSubstr("--device: expected one of auto, cpu or cuda, found gpu"));
    EXPECT_THAT(Program().refusal({"run", "--device", "CUDA"}), HasSubstr("did you mean cuda?"));
    EXPECT_THAT(Program().refusal({}), HasSubstr("required"));
}

} // namespace
} // namespace braid

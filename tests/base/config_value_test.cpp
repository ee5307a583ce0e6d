#include "base/config_value.h"

#include <cmath>

#include "base/suggest.h"
#include "tests/support/config_text.h"

namespace braid {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

enum class Color { red, green };
constexpr auto enum_names(Color) {
    return std::array<std::string_view, 2>{"red", "green"};
}

template <typename V>
std::string fault(const std::string& text, const KeySpec& spec = {}) {
    try {
        (void)ConfigValue<V>::read(parse_yaml(text, "v"), spec);
    } catch (const ValueFault& error) {
        return error.what();
    }
    ADD_FAILURE() << text << " was accepted";
    return "";
}

template <typename V>
V value(const std::string& text, const KeySpec& spec = {}) {
    return ConfigValue<V>::read(parse_yaml(text, "v"), spec);
}

TEST(config_value, whole_numbers_are_base_ten) {
    EXPECT_EQ(value<int64_t>("42"), 42);
    EXPECT_EQ(value<int64_t>("-3"), -3);
    EXPECT_EQ(value<int64_t>("+3"), 3);
    EXPECT_EQ(value<int64_t>("9223372036854775807"), INT64_MAX);
    for (const std::string text : {"010", "0x10", "0o7", "0b1", "1_000", "1:30", "1.0", "1e3", "\"3\"", "abc",
                                   "true", "~", "[1]", "{a: 1}", "", "-", "+", "4K", ".inf"})
        EXPECT_THAT(fault<int64_t>(text), HasSubstr("expected a whole number")) << text;
    EXPECT_THAT(fault<int64_t>("9223372036854775808"), HasSubstr("64 bits"));
    EXPECT_THAT(fault<int64_t>("4K"), HasSubstr("only keys that count tokens take sizes"));
    EXPECT_EQ(fault<int64_t>("0", {.min = 1, .max = 9}), "expected a whole number from 1 to 9, found 0");
    EXPECT_THAT(fault<int64_t>("10", {.min = 1, .max = 9}), HasSubstr("found 10"));
}

TEST(config_value, sizes_are_powers_of_a_thousand) {
    const KeySpec tokens{.min = 1, .counts_tokens = true};
    EXPECT_EQ(value<int64_t>("20B", tokens), 20'000'000'000);
    EXPECT_EQ(value<int64_t>("500M", tokens), 500'000'000);
    EXPECT_EQ(value<int64_t>("4K", tokens), 4'000);
    EXPECT_EQ(value<int64_t>("1.5T", tokens), 1'500'000'000'000);
    EXPECT_EQ(value<int64_t>("17", tokens), 17);
    for (const std::string text :
         {"20GB", "5m", "1.0005K", "K", "0x1M", "99999999999T", "-1K", "1.5", "1e30B"})
        EXPECT_THAT(fault<int64_t>(text, tokens), HasSubstr("expected a whole number (or a size like 20B)"))
            << text;
}

TEST(config_value, numbers_are_finite_and_base_ten) {
    EXPECT_EQ(value<double>("1.0e-3"), 1e-3);
    EXPECT_EQ(value<double>("1e-3"), 1e-3);
    EXPECT_EQ(value<double>("3"), 3.0);
    EXPECT_EQ(value<double>(".5"), 0.5);
    EXPECT_EQ(value<double>("-2."), -2.0);
    for (const std::string text : {"nan", ".nan", "inf", ".inf", "-.inf", "0x1p3", "1e999", "1e-999", "1_0.0",
                                   "012.5", "1,5", ".", "e3", "\"1.0\"", "true", "1:30.5", "- 1"})
        EXPECT_THAT(fault<double>(text), HasSubstr("expected a number")) << text;
    EXPECT_THAT(fault<double>("1", {.min = 0, .below = 1}), HasSubstr("at least 0, below 1, found 1"));
    EXPECT_THAT(fault<double>("0", {.above = 0}), HasSubstr("above 0, found 0"));
}

TEST(config_value, numbers_are_written_with_a_point_and_read_back_exactly) {
    EXPECT_EQ(write_number(1e-6), "1.0e-6");
    EXPECT_EQ(write_number(3e-4), "0.0003");
    EXPECT_EQ(write_number(1), "1.0");
    EXPECT_EQ(write_number(1e20), "1.0e+20");
    EXPECT_EQ(write_number(-0.5), "-0.5");
    for (const double x : {1.0 / 3, 1e-300, 5e-324, 1.7976931348623157e308, 0.1, 123456789.125, 1e16,
                           9007199254740993.0, 1.5e-7})
        EXPECT_EQ(value<double>(write_number(x)), x) << write_number(x);
}

TEST(config_value, truth_values_choices_and_seeds) {
    EXPECT_TRUE(value<bool>("true"));
    for (const std::string text : {"yes", "True", "on", "1", "\"true\""})
        EXPECT_THAT(fault<bool>(text), HasSubstr("expected true or false")) << text;
    EXPECT_EQ(value<Color>("green"), Color::green);
    EXPECT_EQ(fault<Color>("gren"), "expected one of red or green, found gren; did you mean green?");
    EXPECT_THAT(fault<Color>("blue", {.not_built = {"blue"}}),
                HasSubstr("found blue, which is not built yet"));
    EXPECT_EQ(value<uint64_t>("18446744073709551615"), UINT64_MAX);
    for (const std::string text : {"-1", "18446744073709551616", "1.0", "01"})
        EXPECT_THAT(fault<uint64_t>(text), HasSubstr("expected a whole number from 0")) << text;
    EXPECT_EQ(value<int64_t>("auto", {.min = 1, .zero_word = "auto"}), 0);
    EXPECT_THAT(fault<int64_t>("0", {.min = 1, .zero_word = "auto"}), HasSubstr("at least 1, or auto"));
}

TEST(config_value, lists_arrays_and_indices) {
    EXPECT_EQ(value<std::vector<Color>>("[red, green]"), (std::vector<Color>{Color::red, Color::green}));
    EXPECT_EQ(value<std::vector<Color>>("red"), std::vector<Color>{Color::red});
    EXPECT_THAT((fault<std::array<double, 2>>("[0.9]")), HasSubstr("expected a list of 2 values, found 1"));
    EXPECT_THAT((fault<std::array<double, 2>>("0.9")), HasSubstr("expected a list of 2 values"));
    EXPECT_EQ(value<std::vector<int64_t>>("\"0-2, 5, 1\""), (std::vector<int64_t>{0, 1, 2, 5}));
    EXPECT_EQ(value<std::vector<int64_t>>("[3, 0-1]"), (std::vector<int64_t>{0, 1, 3}));
    for (const std::string text : {"0-1000000000", "2-1", "a", "1-", "-1", "1,,2", "\"\"", "1.5", "{a: 1}"})
        fault<std::vector<int64_t>>(text);
    EXPECT_EQ(value<std::string>("[a+b, c]", {.joins_list = true}), "a+b, c");
    EXPECT_THAT(fault<std::string>("[a]"), HasSubstr("expected text"));
}

TEST(suggest, counts_edits_and_swaps) {
    EXPECT_EQ(edit_distance("", "abc"), 3);
    EXPECT_EQ(edit_distance("kitten", "sitting"), 3);
    EXPECT_EQ(edit_distance("hidden", "hiddne"), 1);
    EXPECT_EQ(closest("hiden_size", {"hidden_size", "vocab_size"}), "hidden_size");
    EXPECT_EQ(closest("zebra", {"hidden_size", "vocab_size"}), "");
    EXPECT_EQ(join_choices({"a", "b", "c"}), "a, b or c");
}

TEST(suggest, knows_spellings_synonyms_and_parts) {
    const std::vector<std::string> types{"attention", "gated_delta_net", "mlp", "moe"};
    EXPECT_EQ(meant_by("Gated-DeltaNet", types), "gated_delta_net");
    EXPECT_EQ(meant_by("deltanet", types), "gated_delta_net");
    EXPECT_EQ(meant_by("attenton", types), "attention");
    EXPECT_EQ(meant_by("self_attention", types), "attention");
    EXPECT_EQ(meant_by("FFN", types, "mha=attention ffn=mlp"), "mlp");
    EXPECT_EQ(meant_by("MHA", types, "mha=attention ffn=mlp"), "attention");
    EXPECT_EQ(meant_by("rmsnorm", {"rms", "layer"}), "rms");
    EXPECT_EQ(meant_by("fp16", {"f32", "bf16", "f64"}, "fp16=bf16"), "bf16");
    for (const std::string& word : std::vector<std::string>{"zebra", "", "__", "xq", std::string(1000, 'a')})
        EXPECT_EQ(meant_by(word, types), "") << word;
}

TEST(config_value, suggests_what_a_value_was_meant_to_be) {
    EXPECT_THAT(fault<int64_t>("1e3"), HasSubstr("did you mean 1000?"));
    EXPECT_THAT(fault<int64_t>("1_000"), HasSubstr("did you mean 1000?"));
    EXPECT_THAT(fault<int64_t>("1.5"), Not(HasSubstr("did you mean")));
    EXPECT_THAT(fault<int64_t>("1_0K", {.counts_tokens = true}), Not(HasSubstr("did you mean")));
    EXPECT_THAT(fault<bool>("yes"), HasSubstr("did you mean true?"));
    EXPECT_THAT(fault<bool>("False"), HasSubstr("did you mean false?"));
    EXPECT_THAT(fault<Color>("crimson", {.synonyms = "crimson=red"}), HasSubstr("did you mean red?"));
    EXPECT_EQ((fault<std::array<double, 2>>("0.9", {.example = "[0.9, 0.95]"})),
              "expected a list of 2 values, for example [0.9, 0.95], found 0.9");
}

} // namespace
} // namespace braid

#include "ablation/report/report.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <limits>

#include "ablation/report/sample_texts.h"
#include "base/error.h"
#include "tests/support/temporary_folder.h"

namespace braid::report {
namespace {

using test::TemporaryFolder;
using ::testing::HasSubstr;
using ::testing::Not;

TEST(report, thinning_keeps_extremes_and_the_mean) {
    ThinCurve curve(200);
    double sum = 0;
    for (int64_t step = 1; step <= 100'000; ++step) {
        const double value = step == 70'001 ? 99 : step == 3 ? -7 : 1;
        sum += value;
        curve.add(step, value);
    }
    double low = 1, high = 1, total = 0;
    int64_t count = 0;
    for (const CurveBucket& bucket : curve.buckets()) {
        low = std::min(low, bucket.low.value), high = std::max(high, bucket.high.value);
        total += bucket.sum, count += bucket.count;
    }
    EXPECT_LE(curve.buckets().size(), 200U);
    EXPECT_GE(curve.buckets().size(), 100U);
    EXPECT_EQ(curve.buckets().back().step, 100'000);
    EXPECT_EQ(low, -7);
    EXPECT_EQ(high, 99);
    EXPECT_EQ(count, 100'000);
    EXPECT_EQ(total, sum);
}

TEST(report, thinning_tells_where_a_curve_was_not_finite) {
    ThinCurve curve(4);
    for (int64_t step = 1; step <= 20; ++step) curve.add(step, step == 15 ? std::nan("") : 1.0);
    EXPECT_EQ(curve.first_missing(), 15);
    EXPECT_EQ(curve.last(), 1.0);
}

TEST(report, lines_are_scanned_or_refused) {
    std::map<std::string, double> found;
    const auto scan = [&](std::string_view line) {
        found.clear();
        return scan_json_line(
            line, [&](std::string_view key, double value) { found.emplace(key, value); },
            [](std::string_view, std::string_view) {});
    };
    EXPECT_TRUE(
        scan(R"({"step": 1, "loss":null,"list":[{"a":"]}"}],"name":"x","flag":true,"rate":-1.5e-3})"));
    EXPECT_EQ(found.size(), 3U);
    EXPECT_EQ(found["rate"], -1.5e-3);
    EXPECT_TRUE(std::isnan(found["loss"]));
    for (const char* bad : {"", "{", "[]", R"({"a":1)", R"({"a":1}})", R"({"a" 1})", R"({"a":1 "b":2})",
                            R"({"a":[1})", R"({"a":nan})", R"({"a":1,})"})
        EXPECT_FALSE(scan(bad)) << bad;
}

TEST(report, no_text_ends_the_script_it_stands_in) {
    const std::string text = to_script_text({{"name", "</script><!--&\xff"}});
    EXPECT_THAT(text, Not(HasSubstr("<")));
    EXPECT_EQ(Json::parse(text)["name"], "</script><!--&\xef\xbf\xbd");
}

TEST(report, tables_escape_what_their_format_takes_for_markup) {
    const Json data =
        Json::parse(R"({"warnings":[],"verdict":null,"runs":[{"name":"a|b_c","status":"ended","seed":"=1",
        "step":3,"tokens":4,"flops":5,"hours":6,"final":{"loss":0.5}}]})");
    EXPECT_THAT(to_markdown(data), HasSubstr("| a\\|b\\_c | ended"));
    EXPECT_THAT(to_tex(data), HasSubstr("a|b\\_c & ended"));
    EXPECT_THAT(to_csv(data)[0].text, HasSubstr("a|b_c,ended,'=1,3,0.5,"));
}

TEST(report, samples_are_those_of_the_last_steps) {
    const TemporaryFolder folder;
    std::string lines;
    for (int step = 1; step <= 25; ++step)
        for (const char* prompt : {"a", "b"})
            lines +=
                Json(
                    {{"step", step}, {"prompt", prompt}, {"text", step == 25 ? std::string(5000, 'x') : "t"}})
                    .dump() +
                "\n";
    test::write_file(folder / "samples.jsonl", lines + R"({"step":26,"pro)");
    const SampleTexts samples = read_samples(folder / "samples.jsonl");
    EXPECT_EQ(samples.by_step.size(), SampleTexts::kMostSteps);
    EXPECT_EQ(samples.by_step.begin()->first, 6);
    EXPECT_EQ(samples.by_step.rbegin()->first, 25);
    EXPECT_EQ(samples.by_step.at(24).size(), 2U);
    EXPECT_EQ(samples.by_step.at(24)[1].prompt, "b");
    EXPECT_EQ(samples.steps_left_out, 5);
    EXPECT_EQ(samples.texts_cut, 2);
    EXPECT_LT(samples.by_step.at(25)[0].text.size(), 4100U);
    EXPECT_TRUE(read_samples(folder / "none.jsonl").by_step.empty());
    for (const char* bad :
         {"[]", R"({"step":1,"prompt":"a"})", R"({"step":"1","prompt":"a","text":"b"})", "x"}) {
        test::write_file(folder / "samples.jsonl", std::string(bad) + "\n");
        EXPECT_THROW(read_samples(folder / "samples.jsonl"), DataError) << bad;
    }
}

TEST(report, a_folder_without_a_config_is_no_run) {
    const TemporaryFolder folder;
    EXPECT_THROW(Report({folder.path()}), ConfigError);
    EXPECT_THROW(Report({folder / "none"}), ConfigError);
}

} // namespace
} // namespace braid::report

// What layers.jsonl tells is thinned until the page fits, and the page says so.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <string>
#include <vector>

#include "ablation/report/report.h"
#include "tests/support/temporary_folder.h"

namespace braid::report {
namespace {

using test::TemporaryFolder;
using test::write_file;
using ::testing::HasSubstr;

constexpr size_t kRuns = 4;

/// Runs with 300 lines of losses and 40 of each of 12 sublayers.
std::vector<std::string> make_runs(const TemporaryFolder& folder) {
    std::string losses, layers;
    for (int64_t step = 1; step <= 300; ++step)
        losses += fmt::format("{{\"step\":{},\"tokens\":{},\"loss\":{}}}\n", step, 64 * step,
                              1 + 1.0 / static_cast<double>(step));
    for (int64_t step = 1; step <= 40; ++step)
        for (int64_t layer = 0; layer < 12; ++layer)
            layers += fmt::format(
                "{{\"step\":{},\"layer\":{},\"sublayer\":\"attn\",\"rms\":{},\"act_max\":{},\"act_min\":{}}}"
                "\n",
                step, layer, 1.2345 * static_cast<double>(step), step == 17 ? 1000 : 1,
                step == 17 ? -1000 : 1);
    std::vector<std::string> runs;
    for (size_t i = 0; i < kRuns; ++i) {
        runs.push_back(folder / fmt::format("run{}", i));
        std::filesystem::create_directory(runs.back());
        write_file(runs.back() + "/config.yaml", fmt::format("name: run{}\n", i));
        write_file(runs.back() + "/metrics.jsonl", losses);
        write_file(runs.back() + "/layers.jsonl", layers);
    }
    return runs;
}

size_t bytes_of(const Json& data) {
    return to_script_text(data).size();
}

TEST(report_size, layers_are_thinned_to_the_budget_and_keep_their_extremes) {
    const TemporaryFolder folder;
    const Report report(make_runs(folder));
    const Json whole = to_json(report);
    ASSERT_TRUE(whole["thinned"].empty());
    ASSERT_EQ(whole["runs"][0]["layers"]["step"].size(), 40U);
    size_t layer_bytes = 0;
    for (const Json& run : whole["runs"]) layer_bytes += bytes_of(run["layers"]);
    const size_t budget = bytes_of(whole) - layer_bytes * 4 / 10;
    const Json small = to_json(report, {.most_bytes = budget});
    EXPECT_LE(bytes_of(small), budget + 500); // the note itself
    ASSERT_EQ(small["thinned"].size(), 1U);
    const Json& layers = small["runs"][kRuns - 1]["layers"];
    EXPECT_LT(layers["step"].size(), 40U);
    EXPECT_THAT(small["thinned"][0].get<std::string>(),
                HasSubstr(fmt::format("{} of 40 times", layers["step"].size())));
    EXPECT_EQ(layers["step"].back(), 40);
    EXPECT_THAT(layers["fields"]["act_max"][3], ::testing::Contains(Json(1000)));
    EXPECT_THAT(layers["fields"]["act_min"][3], ::testing::Contains(Json(-1000)));
    EXPECT_EQ(small["runs"][0]["curves"], whole["runs"][0]["curves"]);
    EXPECT_THAT(to_html(report, {.most_bytes = budget}), HasSubstr("is thinned to"));
}

TEST(report_size, layers_that_cannot_be_thinned_further_are_left_out) {
    const TemporaryFolder folder;
    const Report report(make_runs(folder));
    const Json none = to_json(report, {.most_bytes = 1});
    for (const Json& run : none["runs"]) EXPECT_FALSE(run.contains("layers"));
    ASSERT_EQ(none["thinned"].size(), 2U);
    EXPECT_THAT(none["thinned"][1].get<std::string>(), HasSubstr("of the last 4 run(s) is left out"));
}

} // namespace
} // namespace braid::report

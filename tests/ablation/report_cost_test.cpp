// What runs cost: ranks times hours, of all starts and of steps, by variant and with tuning.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <string>

#include "ablation/report/report.h"
#include "base/error.h"
#include "tests/support/temporary_folder.h"

namespace braid::report {
namespace {

using test::TemporaryFolder;
using test::write_file;
using ::testing::HasSubstr;

/// A run of eight steps of 900 seconds: four with two ranks, and from step 5 on with four.
void make_run(const std::string& folder) {
    std::filesystem::create_directories(folder);
    write_file(folder + "/config.yaml", "name: x\n");
    std::string lines;
    for (int step = 1; step <= 8; ++step)
        lines += fmt::format("{{\"step\":{},\"tokens\":{},\"loss\":1,\"step_seconds\":900}}\n", step, step);
    write_file(folder + "/metrics.jsonl", lines);
    write_file(folder + "/run.json",
               R"({"step":8,"hours":3.5,"exit_code":0,"starts":[{"first_step":1,"ranks":2,"hours":1.5},
                   {"first_step":5,"ranks":4,"hours":2.0}]})");
}

TEST(report_cost, is_ranks_times_hours_of_each_start) {
    const TemporaryFolder folder;
    make_run(folder / "a");
    const Json data = to_json(Report({folder / "a"}), {.price = 2.5});
    EXPECT_DOUBLE_EQ(data["runs"][0]["rank_hours"], 2 * 1.5 + 4 * 2.0);
    EXPECT_DOUBLE_EQ(data["runs"][0]["step_rank_hours"], 2 * 1.0 + 4 * 1.0);
    EXPECT_DOUBLE_EQ(data["runs"][0]["money"], 2.5 * 11);
    EXPECT_FALSE(data["cost"].contains("tuning"));
    EXPECT_FALSE(to_json(Report({folder / "a"}))["cost"].contains("money"));
}

TEST(report_cost, of_a_run_without_a_record_is_that_of_its_steps_on_one_rank) {
    const TemporaryFolder folder;
    make_run(folder / "a");
    std::filesystem::remove(folder / "a/run.json");
    const Json data = to_json(Report({folder / "a"}));
    EXPECT_DOUBLE_EQ(data["runs"][0]["rank_hours"], 2.0);
    EXPECT_DOUBLE_EQ(data["runs"][0]["step_rank_hours"], 2.0);
}

class report_cost_of_sweep : public ::testing::Test {
  protected:
    report_cost_of_sweep() {
        for (const char* run : {"runs/norm-pre_s1", "runs/norm-pre_s2", "runs/norm-pre_qk-on_s1",
                                "tune/norm-pre_lr-0.001_s9", "tune/norm-pre_qk-on_weight_decay-0.1_s9"})
            make_run(folder_ / run);
        write_file(folder_ / "sweep.yaml", "name: s\n");
        write_file(folder_ / "verdict.json", R"({"variants":[
            {"id":"norm-pre","label":"pre","is_reference":true,"mean":2.0,"by_seed":{"1":2.0,"2":2.0}},
            {"id":"norm-pre_qk-on","label":"pre, on","mean":1.5,"by_seed":{"1":1.5},"diverged":0,
             "difference":{"estimate":-0.5,"low":-0.75,"high":-0.25,"p":0.001,"verdict":"better"}}]})");
    }
    Json data(double price) const { return to_json(Report({folder_.path()}), {.price = price}); }

    TemporaryFolder folder_;
};

TEST_F(report_cost_of_sweep, steps_in_common_cost_once_and_belong_to_all_curves) {
    make_run(folder_ / "trunk/norm-pre_s1");
    // It leaves the trunk, which went on, at step 6; the sweep was made elsewhere.
    const std::string branch = folder_ / "runs/norm-pre_s1";
    write_file(
        branch + "/config.yaml",
        "name: x\nstart: {from: \"sweeps/s/trunk/norm-pre_s1/checkpoints/step-00000006\", mode: branch}\n");
    write_file(branch + "/metrics.jsonl", "{\"step\":7,\"tokens\":7,\"loss\":0.5,\"step_seconds\":900}\n");
    const Json cost = data(0)["cost"];
    EXPECT_DOUBLE_EQ(cost["rank_hours"], 6 * 11);
    EXPECT_DOUBLE_EQ(cost["trunks"]["rank_hours"], 11);
    EXPECT_EQ(cost["trunks"]["runs"], 1);
    // One step of its own, on the ranks that its record tells of a seventh.
    EXPECT_DOUBLE_EQ(cost["step_rank_hours"], 5 * 6 + 4 * 0.25);
    const RunData run(branch, {});
    EXPECT_EQ(run.curves().at("loss").buckets().size(), 7U);
    EXPECT_DOUBLE_EQ(run.step_rank_hours(), 4 * 0.25);
}

TEST_F(report_cost_of_sweep, holds_tuning_and_tells_its_part) {
    const Json cost = data(0)["cost"];
    EXPECT_DOUBLE_EQ(cost["rank_hours"], 5 * 11);
    EXPECT_DOUBLE_EQ(cost["step_rank_hours"], 5 * 6);
    EXPECT_DOUBLE_EQ(cost["tuning"]["rank_hours"], 2 * 11);
    EXPECT_EQ(cost["tuning"]["runs"], 2);
    ASSERT_EQ(cost["variants"].size(), 2U);
    EXPECT_EQ(cost["variants"][0]["label"], "pre");
    EXPECT_DOUBLE_EQ(cost["variants"][0]["rank_hours"], 3 * 11);
    EXPECT_DOUBLE_EQ(cost["variants"][0]["tuning"]["rank_hours"], 11);
    EXPECT_EQ(cost["variants"][1]["runs"], 1);
    EXPECT_DOUBLE_EQ(cost["variants"][1]["rank_hours"], 2 * 11);
}

TEST_F(report_cost_of_sweep, stands_in_every_table) {
    const Json with_price = data(3);
    EXPECT_THAT(to_markdown(with_price), HasSubstr("| total | 3 | 55 | 30 | 2 | 22 | 165.00 |"));
    EXPECT_THAT(to_tex(with_price), HasSubstr("total & 3 & 55 & 30 & 2 & 22 & 165.00"));
    const std::vector<CsvTable> tables = to_csv(with_price);
    ASSERT_EQ(tables.size(), 3U);
    EXPECT_THAT(tables[0].text, HasSubstr(",rank_hours,step_rank_hours,money\n"));
    EXPECT_EQ(tables[2].suffix, "-cost");
    EXPECT_THAT(tables[2].text, HasSubstr("\"pre, on\",1,22,12,1,11,66\n"));
}

TEST_F(report_cost_of_sweep, stands_beside_verdicts_as_csv) {
    const std::vector<CsvTable> tables = to_csv(data(0));
    ASSERT_EQ(tables.size(), 3U);
    EXPECT_EQ(tables[1].suffix, "-verdicts");
    EXPECT_THAT(tables[1].text, HasSubstr("norm-pre,pre,2,,,,,reference,2,"));
    EXPECT_THAT(tables[1].text,
                HasSubstr("norm-pre_qk-on,\"pre, on\",1.5,-0.5,-0.75,-0.25,0.001,better,1,0,"));
}

} // namespace
} // namespace braid::report

// Where the extremes of a thinned curve lie: at their own steps and tokens, however few parts are left.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <string>

#include "ablation/report/curve_json.h"
#include "ablation/report/report.h"
#include "tests/support/temporary_folder.h"

namespace braid::report {
namespace {

using test::TemporaryFolder;
using test::write_file;

constexpr int64_t kSteps = 100'000, kSpike = 70'001, kDip = 3;

/// Labelled tokens of a step, which documents make uneven.
int64_t uneven_tokens(int64_t step) {
    return 1000 + step * step % 37;
}

Json loss_of_run(bool uneven) {
    const TemporaryFolder folder;
    std::string text;
    int64_t tokens = 0;
    for (int64_t step = 1; step <= kSteps; ++step) {
        tokens += uneven ? uneven_tokens(step) : 1024;
        text += fmt::format("{{\"step\":{},\"tokens\":{},\"loss\":{}}}\n", step, tokens,
                            step == kSpike ? 99
                            : step == kDip ? -7
                                           : 1);
    }
    write_file(folder / "config.yaml", "name: spike\n");
    write_file(folder / "metrics.jsonl", text);
    const Json data = to_json(Report({folder.path()}));
    Json loss = data["runs"][0]["curves"]["loss"];
    loss["axis"] = data["runs"][0]["axis"];
    return loss;
}

/// The part whose `field` is `value`; there must be one alone.
size_t part_with(const Json& curve, const char* field, double value) {
    size_t part = curve[field].size(), found = 0;
    for (size_t i = 0; i < curve[field].size(); ++i)
        if (curve[field][i] == value) part = i, ++found;
    EXPECT_EQ(found, 1U) << field;
    return part;
}

TEST(report_extremes, keep_their_step_and_tokens) {
    const Json loss = loss_of_run(false);
    EXPECT_LE(loss["step"].size(), 400U);
    const size_t spike = part_with(loss, "high", 99), dip = part_with(loss, "low", -7);
    EXPECT_EQ(loss["high_step"][spike], kSpike);
    EXPECT_EQ(loss["low_step"][dip], kDip);
    // Of equally many tokens a step the axis tells them: nothing more is kept.
    EXPECT_FALSE(loss.contains("high_tokens"));
    const TokenAxis axis(loss["axis"]);
    EXPECT_EQ(axis.at(kSpike), 1024 * kSpike);
    EXPECT_EQ(axis.at(kDip), 1024 * kDip);
}

TEST(report_extremes, keep_their_tokens_where_steps_have_unequal_ones) {
    const Json loss = loss_of_run(true);
    const size_t spike = part_with(loss, "high", 99), dip = part_with(loss, "low", -7);
    int64_t at_spike = 0, at_dip = 0;
    for (int64_t step = 1; step <= kSpike; ++step) {
        at_spike += uneven_tokens(step);
        if (step <= kDip) at_dip += uneven_tokens(step);
    }
    EXPECT_EQ(loss["high_step"][spike], kSpike);
    EXPECT_EQ(loss["high_tokens"][spike], at_spike);
    EXPECT_EQ(loss["low_tokens"][dip], at_dip);
}

TEST(report_extremes, of_equal_values_lie_at_the_first) {
    ThinCurve curve(2);
    for (int64_t step = 1; step <= 64; ++step) curve.add(step, step == 10 || step == 20 ? 5 : 1, step * 8.0);
    EXPECT_EQ(curve.buckets()[0].high.step, 10);
    EXPECT_EQ(curve.buckets()[0].high.tokens, 80);
}

} // namespace
} // namespace braid::report

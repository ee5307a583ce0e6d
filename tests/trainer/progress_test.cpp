#include "trainer/metrics/progress.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace braid {
namespace {

using ::testing::HasSubstr;

/// A progress with a sink and a clock of our own.
struct Screen {
    std::string text;
    double now = 1000;

    ProgressOptions options(bool terminal) {
        ProgressOptions options;
        options.write = [this](std::string_view part) { text += part; };
        options.seconds = [this] { return now; };
        options.terminal = terminal;
        options.steps = 400;
        return options;
    }
};

StepMetrics some_metrics(int64_t step) {
    StepMetrics metrics;
    metrics.step = step;
    metrics.loss = 1.23449;
    metrics.grad_norm = 0.98;
    metrics.lr = 3e-3;
    metrics.tokens_per_second = 12345.4;
    return metrics;
}

TEST(progress, plain_lines_are_stable) {
    Screen screen;
    Progress progress(screen.options(false));
    screen.now += 120;
    StepMetrics metrics = some_metrics(120);
    progress.step(metrics);
    EXPECT_EQ(screen.text,
              "step 120/400 loss 1.2345 grad_norm 0.98 lr 3.000e-03 tokens/s 12345 time_left 00:04:40\n");
    metrics.aux_loss = 0.00123456;
    metrics.mtp_loss = 2;
    metrics.mfu = 0.41249;
    metrics.expert_load_min = 0.5;
    metrics.expert_load_max = 1.625;
    EXPECT_EQ(progress.step_line(metrics),
              "step 120/400 loss 1.2345 aux_loss 0.001235 mtp_loss 2.0000 grad_norm 0.98 lr 3.000e-03 "
              "tokens/s 12345 mfu 0.412 expert_load 0.50-1.62 time_left 00:04:40");
}

TEST(progress, plain_evaluations_and_messages) {
    Screen screen;
    {
        Progress progress(screen.options(false));
        StepMetrics metrics;
        metrics.step = 50;
        metrics.eval = {{"web", {1.25, 1.8}}, {"code", {2, 3}}};
        metrics.eval_loss = 1.625;
        progress.evaluation(metrics);
        progress.message("saved checkpoints/step-00000050");
    }
    EXPECT_EQ(screen.text,
              "eval 50/400 eval_loss 1.6250 eval/code/loss 2.0000 eval/code/bits_per_byte 3.0000 "
              "eval/web/loss 1.2500 eval/web/bits_per_byte 1.8000\nsaved checkpoints/step-00000050\n");
}

TEST(progress, time_left_counts_this_start_and_its_last_step) {
    Screen screen;
    ProgressOptions options = screen.options(false);
    options.step = 100;
    options.last_step = 200; // stop_at
    const Progress progress(options);
    screen.now += 30;
    EXPECT_THAT(progress.step_line(some_metrics(110)), HasSubstr("time_left 00:04:30"));
    EXPECT_THAT(progress.step_line(some_metrics(200)), HasSubstr("time_left 00:00:00"));
    EXPECT_THAT(progress.step_line(some_metrics(100)), HasSubstr("time_left -")); // nothing to judge by
}

TEST(progress, durations) {
    EXPECT_EQ(format_duration(0), "00:00:00");
    EXPECT_EQ(format_duration(3661.4), "01:01:01");
    EXPECT_EQ(format_duration(86399), "23:59:59");
    EXPECT_EQ(format_duration(86400 * 12 + 60), "12d00:01:00");
    EXPECT_EQ(format_duration(-1), "00:00:00");
    for (const double value : {std::nan(""), std::numeric_limits<double>::infinity(), 1e300})
        EXPECT_EQ(format_duration(value), "-");
}

TEST(progress, numbers_that_are_not_finite_are_shown) {
    Screen screen;
    const Progress progress(screen.options(true));
    StepMetrics metrics = some_metrics(1);
    metrics.loss = std::nan("");
    metrics.tokens_per_second = std::numeric_limits<double>::infinity();
    EXPECT_THAT(progress.step_line(metrics), HasSubstr("loss nan"));
    EXPECT_THAT(progress.bar_line(metrics), HasSubstr("loss nan"));
}

TEST(progress, the_bar_fits_any_terminal) {
    StepMetrics metrics = some_metrics(100);
    metrics.expert_load_min = 0.5;
    metrics.expert_load_max = 1.625;
    for (int width = 0; width <= 200; ++width) {
        Screen screen;
        ProgressOptions options = screen.options(true);
        options.width = width;
        const Progress progress(options);
        screen.now += 100;
        const std::string line = progress.bar_line(metrics);
        EXPECT_LE(static_cast<int>(line.size()), std::max(width - 1, 0)) << width;
        if (width > 30) {
            EXPECT_THAT(line, HasSubstr("step 100/400  loss 1.2345")) << width;
        }
        // A bar whenever loss, time and speed leave room for one.
        if (width > 62) {
            EXPECT_EQ(line[0], '[') << width;
        }
    }
}

TEST(progress, the_bar_at_usual_widths) {
    StepMetrics metrics = some_metrics(100);
    metrics.expert_load_min = 0.5;
    metrics.expert_load_max = 1.625;
    const auto line_at = [&](int width) {
        Screen screen;
        ProgressOptions options = screen.options(true);
        options.width = width;
        const Progress progress(options);
        screen.now += 100;
        return progress.bar_line(metrics);
    };
    EXPECT_EQ(line_at(80), "[==.....] step 100/400  loss 1.2345  00:05:00 left  12.3k tok/s  load 0.50-1.62");
    EXPECT_EQ(line_at(60), "step 100/400  loss 1.2345  00:05:00 left  12.3k tok/s");
    EXPECT_EQ(line_at(200),
              "[==========.............................] step 100/400  loss 1.2345  00:05:00 "
              "left  12.3k tok/s  load 0.50-1.62");
}

TEST(progress, the_bar_follows_a_terminal_that_is_narrowed) {
    Screen screen;
    ProgressOptions options = screen.options(true);
    int columns = 27;
    options.columns = [&] { return columns; };
    Progress progress(options);
    progress.step(some_metrics(1));
    EXPECT_EQ(screen.text, "\r\x1b[Kstep   1/400  loss 1.2345");
    columns = 15;
    screen.text.clear();
    progress.message("saved"); // the bar that stood there, cut
    EXPECT_EQ(screen.text, "\r\x1b[Ksaved\nstep   1/400  ");
    screen.text.clear();
    screen.now += 0.2;
    progress.step(some_metrics(2));
    EXPECT_EQ(screen.text, "\r\x1b[Kstep   2/400");
}

TEST(progress, a_terminal_line_is_redrawn_in_place) {
    Screen screen;
    {
        ProgressOptions options = screen.options(true);
        options.width = 27;
        Progress progress(options);
        progress.step(some_metrics(1));
        EXPECT_EQ(screen.text, "\r\x1b[Kstep   1/400  loss 1.2345");
        screen.text.clear();
        progress.step(some_metrics(2)); // too soon to be drawn
        EXPECT_EQ(screen.text, "");
        screen.now += 0.2;
        progress.step(some_metrics(3));
        EXPECT_EQ(screen.text, "\r\x1b[Kstep   3/400  loss 1.2345");
        screen.text.clear();
        progress.message("saved");
        EXPECT_EQ(screen.text, "\r\x1b[Ksaved\nstep   3/400  loss 1.2345");
        screen.text.clear();
        progress.step(some_metrics(400)); // the last step is always drawn
        EXPECT_EQ(screen.text, "\r\x1b[Kstep 400/400  loss 1.2345");
        screen.text.clear();
    }
    EXPECT_EQ(screen.text, "\n");
}

} // namespace
} // namespace braid

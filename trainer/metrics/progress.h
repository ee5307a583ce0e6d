#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "trainer/metrics/metrics.h"

namespace braid {

/// Where progress goes, and how.
struct ProgressOptions {
    std::function<void(std::string_view)> write; // takes text as it is, and flushes it
    bool terminal = false;           // one line redrawn in place; otherwise a plain line for each call
    int width = 80;                  // columns of the terminal
    std::function<int()> columns;    // the same, asked at each redraw; empty: width
    int64_t steps = 0;               // of the whole run
    int64_t last_step = 0;           // after which this start ends; 0: steps
    int64_t step = 0;                // completed before this start
    std::function<double()> seconds; // a monotonic clock; empty: the steady clock
};

/// Tells the user how a run goes. Without a terminal the lines are stable, words and numbers in turn:
///     step 120/400 loss 1.2345 grad_norm 0.98 lr 3.0e-03 tokens/s 12345 time_left 00:03:21
///     eval 120/400 eval_loss 1.3000 eval/web/loss 1.3000 eval/web/bits_per_byte 1.8755
/// with aux_loss, mtp_loss, mfu and expert_load (least-most) where they apply.
class Progress {
  public:
    /// Time left counts from here.
    explicit Progress(ProgressOptions options);
    Progress(const Progress&) = delete;
    Progress& operator=(const Progress&) = delete;
    /// Leaves the cursor of a terminal on a line of its own.
    ~Progress();

    /// A step is done. A terminal is redrawn ten times a second at most.
    void step(const StepMetrics& metrics);
    /// Metrics that hold an evaluation.
    void evaluation(const StepMetrics& metrics);
    /// A line of its own, above the bar of a terminal.
    void message(std::string_view text);

    /// The plain lines, without newline.
    std::string step_line(const StepMetrics& metrics) const;
    std::string evaluation_line(const StepMetrics& metrics) const;
    /// The bar with what fits beside it, at most width - 1 columns.
    std::string bar_line(const StepMetrics& metrics) const;

  private:
    /// The last column stays empty: many terminals wrap as soon as it is written.
    size_t usable_width() const;
    double seconds_left(int64_t step) const;

    ProgressOptions options_;
    double begin_;
    double drawn_at_ = 0;
    std::string bar_; // what the terminal's last line shows
};

/// hh:mm:ss, with the days before it from one day on; "-" for what is not finite.
std::string format_duration(double seconds);

} // namespace braid

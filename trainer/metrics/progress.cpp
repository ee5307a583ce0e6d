#include "trainer/metrics/progress.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <limits>

#include "base/error.h"

namespace braid {
namespace {

constexpr double kRedrawSeconds = 0.1;
constexpr std::string_view kClearLine = "\r\x1b[K";

double steady_seconds() {
    return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

/// 987, 12.3k, 4.56M
std::string short_count(double value) {
    if (!(std::abs(value) >= 1000)) return fmt::format("{:.0f}", value);
    constexpr std::array<std::string_view, 4> kUnits{"k", "M", "G", "T"};
    size_t unit = 0;
    for (value /= 1000; std::abs(value) >= 999.5 && unit + 1 < kUnits.size(); ++unit) value /= 1000;
    const int decimals = std::abs(value) >= 99.95 ? 0 : std::abs(value) >= 9.995 ? 1 : 2;
    return fmt::format("{:.{}f}{}", value, decimals, kUnits[unit]);
}

std::string draw_bar(double done, int width) {
    const int filled = static_cast<int>(std::lround(std::clamp(done, 0.0, 1.0) * width));
    return "[" + std::string(static_cast<size_t>(filled), '=') +
           std::string(static_cast<size_t>(width - filled), '.') + "]";
}

} // namespace

std::string format_duration(double seconds) {
    if (!std::isfinite(seconds) || seconds > 1e9) return "-";
    const int64_t whole = std::max<int64_t>(0, std::llround(seconds));
    const std::string clock =
        fmt::format("{:02}:{:02}:{:02}", whole / 3600 % 24, whole / 60 % 60, whole % 60);
    return whole < 86400 ? clock : fmt::format("{}d{}", whole / 86400, clock);
}

Progress::Progress(ProgressOptions options) : options_(std::move(options)) {
    if (!options_.seconds) options_.seconds = steady_seconds;
    if (options_.last_step == 0) options_.last_step = options_.steps;
    begin_ = options_.seconds();
    drawn_at_ = begin_ - kRedrawSeconds;
}

Progress::~Progress() {
    if (bar_.empty()) return;
    try {
        options_.write("\n");
    } catch (...) { // nothing is lost but a line break
    }
}

void Progress::step(const StepMetrics& metrics) {
    if (!options_.terminal) return options_.write(step_line(metrics) + "\n");
    const double now = options_.seconds();
    if (now - drawn_at_ < kRedrawSeconds && metrics.step < options_.last_step) return;
    drawn_at_ = now;
    bar_ = bar_line(metrics);
    options_.write(fmt::format("{}{}", kClearLine, bar_));
}

void Progress::evaluation(const StepMetrics& metrics) {
    message(evaluation_line(metrics));
}

void Progress::message(std::string_view text) {
    if (!options_.terminal) return options_.write(fmt::format("{}\n", text));
    options_.write(fmt::format("{}{}\n{}", kClearLine, text, bar_.substr(0, usable_width())));
}

std::string Progress::step_line(const StepMetrics& metrics) const {
    std::string line = fmt::format("step {}/{}", metrics.step, options_.steps);
    const auto add = [&](std::string_view name, const std::optional<double>& value, const char* format) {
        if (value) line += fmt::format(" {} {}", name, fmt::format(fmt::runtime(format), *value));
    };
    add("loss", metrics.loss, "{:.4f}");
    add("aux_loss", metrics.aux_loss, "{:.4g}");
    add("mtp_loss", metrics.mtp_loss, "{:.4f}");
    add("grad_norm", metrics.grad_norm, "{:.4g}");
    add("lr", metrics.lr, "{:.3e}");
    add("tokens/s", metrics.tokens_per_second, "{:.0f}");
    add("mfu", metrics.mfu, "{:.3f}");
    if (metrics.expert_load_min && metrics.expert_load_max)
        line += fmt::format(" expert_load {:.2f}-{:.2f}", *metrics.expert_load_min, *metrics.expert_load_max);
    return line + " time_left " + format_duration(seconds_left(metrics.step));
}

std::string Progress::evaluation_line(const StepMetrics& metrics) const {
    std::string line = fmt::format("eval {}/{}", metrics.step, options_.steps);
    if (metrics.eval_loss) line += fmt::format(" eval_loss {:.4f}", *metrics.eval_loss);
    for (const auto& [name, evaluation] : metrics.eval)
        line += fmt::format(" eval/{0}/loss {1:.4f} eval/{0}/bits_per_byte {2:.4f}", name, evaluation.loss,
                            evaluation.bits_per_byte);
    for (const auto& [name, score] : metrics.tasks)
        line += fmt::format(" task/{0}/accuracy {1:.4f} task/{0}/bits_per_byte {2:.4f}", name, score.accuracy,
                            score.bits_per_byte);
    return line;
}

std::string Progress::bar_line(const StepMetrics& metrics) const {
    const size_t width = usable_width();
    constexpr size_t kMinBar = 9, kMaxBar = 42; // with the brackets and the blank behind them
    // Padded, so that the rest stays where it is.
    const std::string steps = std::to_string(options_.steps);
    std::string text = fmt::format("step {:>{}}/{}", metrics.step, steps.size(), steps);
    const auto add = [&](const std::string& field, size_t keep_free) {
        if (text.size() + 2 + field.size() + keep_free <= width) text += "  " + field;
    };
    if (metrics.loss) add(fmt::format("loss {:.4f}", *metrics.loss), 0);
    add(format_duration(seconds_left(metrics.step)) + " left", 0);
    if (metrics.tokens_per_second) add(short_count(*metrics.tokens_per_second) + " tok/s", 0);
    if (metrics.expert_load_min && metrics.expert_load_max)
        add(fmt::format("load {:.2f}-{:.2f}", *metrics.expert_load_min, *metrics.expert_load_max), kMinBar);
    if (text.size() + kMinBar <= width) {
        const int bar = static_cast<int>(std::min(width - text.size(), kMaxBar)) - 3;
        const double done =
            static_cast<double>(metrics.step) / static_cast<double>(std::max<int64_t>(options_.steps, 1));
        text = draw_bar(done, bar) + " " + text;
    }
    return text.substr(0, width);
}

size_t Progress::usable_width() const {
    return static_cast<size_t>(std::max((options_.columns ? options_.columns() : options_.width) - 1, 0));
}

double Progress::seconds_left(int64_t step) const {
    const int64_t done = step - options_.step;
    if (done <= 0) return std::numeric_limits<double>::infinity();
    const double elapsed = options_.seconds() - begin_;
    return elapsed / static_cast<double>(done) *
           static_cast<double>(std::max<int64_t>(options_.last_step - step, 0));
}

} // namespace braid

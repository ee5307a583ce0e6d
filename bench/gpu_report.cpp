#include "bench/gpu_report.h"

#include <algorithm>
#include <nlohmann/json.hpp>

namespace braid::bench {
namespace {

double rate(double work, double milliseconds) {
    return milliseconds > 0 ? work / (milliseconds * 1e-3) : 0;
}

double fraction_of(const Result& result, const Yardsticks& yardsticks) {
    const double seconds = result.timing.milliseconds * 1e-3;
    return seconds > 0 ? bound_of(result.work, yardsticks).seconds / seconds : 0;
}

/// A column of the table: nothing where there is nothing to tell.
std::string number_or_blank(double value, int width, int digits) {
    return value > 0 ? fmt::format("{:{}.{}f}", value, width, digits) : std::string(size_t(width), ' ');
}

nlohmann::json json_of(const Yardsticks& y) {
    return {{"gemm_bf16_flops_per_s", y.gemm_bf16},
            {"gemm_f32_flops_per_s", y.gemm_f32},
            {"copy_bytes_per_s", y.copy}};
}

nlohmann::json json_of(const Result& result, const Yardsticks& yardsticks) {
    nlohmann::json line = {{"name", result.name},
                           {"shape", result.shape},
                           {"flops", result.work.flops},
                           {"bytes", result.work.bytes}};
    if (!result.error.empty()) {
        line["error"] = result.error;
        return line;
    }
    const Timing& t = result.timing;
    line["ms"] = t.milliseconds;
    line["ms_fastest"] = t.fastest;
    line["ms_slowest"] = t.slowest;
    line["host_ms"] = t.host_milliseconds;
    line["repetitions"] = t.repetitions;
    line["peak_bytes"] = t.peak_bytes;
    line["flops_per_s"] = rate(result.work.flops, t.milliseconds);
    line["bytes_per_s"] = rate(result.work.bytes, t.milliseconds);
    line["yardstick"] = bound_of(result.work, yardsticks).yardstick;
    line["fraction"] = fraction_of(result, yardsticks);
    if (result.work.tokens > 0)
        line["tokens_per_s"] = rate(static_cast<double>(result.work.tokens), t.milliseconds);
    return line;
}

} // namespace

Bound bound_of(const Work& work, const Yardsticks& yardsticks) {
    const double gemm = yardsticks.gemm(work.precision);
    const double computing = gemm > 0 ? work.flops / gemm : 0;
    const double moving = yardsticks.copy > 0 ? work.bytes / yardsticks.copy : 0;
    if (moving > computing) return {moving, "copy"};
    return {computing, work.precision == DType::f32 ? "gemm_f32" : "gemm_bf16"};
}

std::string text_of(const RunHead& head) {
    std::string text = fmt::format(
        "{}, compute capability {}, {} multiprocessors, {:.1f} GiB, highest clock {}\n"
        "driver for CUDA {}, runtime {}, commit {}\n",
        head.device, head.capability, head.multiprocessors, head.memory_gib,
        head.highest_clock_mhz > 0 ? fmt::format("{} MHz", head.highest_clock_mhz) : "unknown", head.driver,
        head.runtime, head.commit);
    if (head.small) text += "small shapes: whether everything runs, not how fast\n";
    return text;
}

std::string text_of(const Yardsticks& first, const std::optional<Yardsticks>& last) {
    const auto line = [&](const char* what, double Yardsticks::*of, double unit, const char* name) {
        std::string text = fmt::format("{:10} {:9.1f} {}", what, first.*of / unit, name);
        if (last)
            text += fmt::format(", at the end {:9.1f}: {:+.1f} %", *last.*of / unit,
                                100 * (*last.*of / (first.*of) - 1));
        return text + "\n";
    };
    return line("GEMM bf16", &Yardsticks::gemm_bf16, 1e12, "TFLOP/s") +
           line("GEMM f32", &Yardsticks::gemm_f32, 1e12, "TFLOP/s") +
           line("copy", &Yardsticks::copy, 1e9, "GB/s");
}

std::string table_head() {
    return fmt::format("{:26} {:46} {:>10} {:>9} {:>8} {:>8} {:>10} {:9} {:>8}\n", "operation", "shape", "ms",
                       "host ms", "TFLOP/s", "GB/s", "peak MiB", "yardstick", "fraction");
}

std::string table_line(const Result& result, const Yardsticks& yardsticks) {
    const std::string start = fmt::format("{:26} {:46} ", result.name, result.shape);
    if (!result.error.empty()) return start + "failed: " + result.error + "\n";
    const Timing& t = result.timing;
    std::string line =
        start + fmt::format("{:10.4f} {:9.4f} {} {} {:10.1f} {:9} {:8.3f}", t.milliseconds,
                            t.host_milliseconds,
                            number_or_blank(rate(result.work.flops, t.milliseconds) * 1e-12, 8, 1),
                            number_or_blank(rate(result.work.bytes, t.milliseconds) * 1e-9, 8, 1),
                            static_cast<double>(t.peak_bytes) * 0x1p-20,
                            bound_of(result.work, yardsticks).yardstick, fraction_of(result, yardsticks));
    if (result.work.tokens > 0)
        line += fmt::format("  {:.0f} tokens/s, MFU {:.3f}",
                            rate(static_cast<double>(result.work.tokens), t.milliseconds),
                            rate(result.work.flops, t.milliseconds) / yardsticks.gemm(result.work.precision));
    return line + "\n";
}

nlohmann::json json_of(const RunHead& head, const Yardsticks& first, const std::optional<Yardsticks>& last,
                       const std::vector<Result>& results, const std::string& fatal) {
    nlohmann::json json = {{"device", head.device},
                           {"compute_capability", head.capability},
                           {"multiprocessors", head.multiprocessors},
                           {"memory_gib", head.memory_gib},
                           {"highest_clock_mhz", head.highest_clock_mhz},
                           {"driver_cuda", head.driver},
                           {"runtime_cuda", head.runtime},
                           {"commit", head.commit},
                           {"small", head.small},
                           {"yardsticks", json_of(first)}};
    if (last) json["yardsticks_at_the_end"] = json_of(*last);
    if (!fatal.empty()) json["ended_early"] = fatal;
    json["results"] = nlohmann::json::array();
    for (const Result& result : results) json["results"].push_back(json_of(result, first));
    return json;
}

} // namespace braid::bench

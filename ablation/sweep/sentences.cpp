#include "ablation/sweep/sentences.h"

#include <algorithm>
#include <cmath>

namespace braid {
namespace {

/// As many digits as tell a tenth of the smallest difference that matters.
std::string number(double value, double matters) {
    const int digits = std::clamp(static_cast<int>(std::ceil(1 - std::log10(matters))), 0, 12);
    return fmt::format("{:+.{}f}", value, digits);
}

} // namespace

std::string unit_of(const std::string& metric) {
    return metric.ends_with("bits_per_byte") ? "bits per byte" : "nats per token";
}

std::string sentence_of(const Difference& difference, const SweepPlan& plan) {
    const double matters = plan.sweep.matters;
    const std::string interval = fmt::format(
        "{} {} ({} to {})", number(difference.estimate, matters), unit_of(plan.sweep.outcome.metric),
        number(difference.low, matters), number(difference.high, matters));
    switch (difference.verdict) {
        case Verdict::better:
            return "better: " + interval;
        case Verdict::worse:
            return "worse: " + interval;
        case Verdict::equal: {
            const bool excludes_zero = difference.low > 0 || difference.high < 0;
            return fmt::format(
                "equal within ±{}: {}{}", matters, interval,
                excludes_zero ? difference.low > 0 ? ", a little worse" : ", a little better" : "");
        }
        case Verdict::undecided:
            return fmt::format("undecided: {}; {}", interval,
                               difference.seeds_needed ? fmt::format("with this noise {} seeds would decide",
                                                                     *difference.seeds_needed)
                                                       : "no number of seeds within reach would decide");
        case Verdict::diverged:
            return "diverged: no numbers to average";
    }
    return "";
}

} // namespace braid

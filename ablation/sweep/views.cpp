#include <algorithm>
#include <nlohmann/json.hpp>

#include "ablation/sweep/judged.h"

namespace braid {
namespace {

using OrderedJson = nlohmann::ordered_json;

/// The differences of a view.
OrderedJson differences_json(const Analysis& analysis, const SweepPlan& plan) {
    OrderedJson variants = OrderedJson::array();
    for (size_t variant = 0; variant < plan.variants.size(); ++variant)
        if (analysis.differences[variant])
            variants.push_back({{"id", plan.variants[variant].id},
                                {"difference", to_json(*analysis.differences[variant], plan)}});
    return variants;
}

/// Each variant at its next lower or higher value of the tuned key, by the seeds that tune: whether the
/// verdict hangs on the choice. `step` is -1 or 1.
std::optional<OrderedJson> neighbouring_view(const Judged& judged, int step) {
    const SweepPlan& plan = judged.plan;
    const Tuning& tuning = judged.tuning;
    Outcomes outcomes;
    for (size_t variant = 0; variant < plan.variants.size(); ++variant) {
        if (!tuning.chosen[variant]) return std::nullopt;
        const auto place = std::find(tuning.grid.begin(), tuning.grid.end(), *tuning.chosen[variant]);
        const auto at = place - tuning.grid.begin() + step;
        if (at < 0 || at >= static_cast<std::ptrdiff_t>(tuning.grid.size())) return std::nullopt;
        const auto point =
            std::find_if(tuning.points.begin(), tuning.points.end(), [&](const TuningPoint& p) {
                return p.variant == variant && p.value == tuning.grid[static_cast<size_t>(at)];
            });
        outcomes.emplace_back();
        for (const auto& [seed, value] : point->by_seed) outcomes.back().push_back(value);
    }
    if (outcomes[0].size() < 2) return std::nullopt; // one seed shows no noise
    JudgeOptions options = judged.options();
    options.levels.clear();
    return OrderedJson{
        {"title", fmt::format("each at its next {} {}, by the {} seeds that tuned{}",
                              step < 0 ? "lower" : "higher", plan.sweep.tune.key, plan.tune_seeds.size(),
                              num_rungs(plan.sweep.tune) > 1 ? ", in the shortest runs" : "")},
        {"variants", differences_json(judge(outcomes, options), plan)}};
}

/// A curve at a step between two of its points.
double interpolated(const std::vector<std::pair<int64_t, double>>& curve, double step) {
    size_t next = 0;
    while (next < curve.size() && static_cast<double>(curve[next].first) < step) ++next;
    if (next == curve.size()) return curve.back().second;
    if (next == 0) return curve[0].second;
    const auto [before, low] = curve[next - 1];
    const auto [after, high] = curve[next];
    return low + (high - low) * (step - static_cast<double>(before)) / static_cast<double>(after - before);
}

/// The outcome of a run when it had done so many FLOPs; none where it did not end.
std::optional<double> outcome_at_flops(const Judged& judged, size_t index, uint64_t seed, double flops) {
    const auto run = judged.judging_run(index, seed);
    if (!run || !judged.results.of(*run).outcome) return std::nullopt;
    const Variant& variant = judged.plan.variants[index];
    return interpolated(judged.results.curve(*run, judged.plan.sweep.outcome.metric),
                        static_cast<double>(variant.steps) * flops / flops_of(variant));
}

/// All variants at the FLOPs of the cheapest, where they differ: runs are of equal tokens.
std::optional<OrderedJson> equal_flops_view(const Judged& judged) {
    const auto& variants = judged.plan.variants;
    const auto [cheapest, dearest] =
        std::minmax_element(variants.begin(), variants.end(),
                            [](const Variant& a, const Variant& b) { return flops_of(a) < flops_of(b); });
    constexpr double kSame = 1.005;
    if (flops_of(*dearest) <= flops_of(*cheapest) * kSame) return std::nullopt;
    Outcomes outcomes;
    for (size_t index = 0; index < variants.size(); ++index) {
        outcomes.emplace_back();
        for (const uint64_t seed : judged.seeds)
            outcomes.back().push_back(outcome_at_flops(judged, index, seed, flops_of(*cheapest)));
    }
    JudgeOptions options = judged.options();
    options.levels.clear();
    return OrderedJson{
        {"title", fmt::format("at equal FLOPs ({:.3g}, those of the cheapest; a straight line between "
                              "evaluations, and learning rates before their end)",
                              flops_of(*cheapest))},
        {"variants", differences_json(judge(outcomes, options), judged.plan)}};
}

} // namespace

OrderedJson other_views(const Judged& judged) {
    OrderedJson views = OrderedJson::array();
    if (auto view = equal_flops_view(judged)) views.push_back(std::move(*view));
    if (!judged.tuning.chosen.empty() && judged.tuning.finished)
        for (const int step : {-1, 1})
            if (auto view = neighbouring_view(judged, step)) views.push_back(std::move(*view));
    return views;
}

} // namespace braid

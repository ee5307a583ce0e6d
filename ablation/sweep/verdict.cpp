#include "ablation/sweep/verdict.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <set>

#include "ablation/sweep/judged.h"
#include "ablation/sweep/sentences.h"

namespace braid {
namespace {

using OrderedJson = nlohmann::ordered_json;

/// The place of each variant on each axis.
std::vector<std::vector<size_t>> levels_of(const SweepPlan& plan) {
    std::vector<std::vector<size_t>> levels;
    for (const Variant& variant : plan.variants) {
        levels.emplace_back();
        for (const SweepAxis& axis : plan.sweep.axes) {
            const auto level = std::find_if(axis.levels.begin(), axis.levels.end(), [&](const AxisLevel& l) {
                return l.label == variant.levels.at(axis.name);
            });
            levels.back().push_back(static_cast<size_t>(level - axis.levels.begin()));
        }
    }
    return levels;
}

/// Outcomes of the judged runs, or nothing while some are missing. What diverged at every rate diverged.
std::optional<Outcomes> outcomes_of(const Judged& judged) {
    Outcomes outcomes;
    for (size_t variant = 0; variant < judged.plan.variants.size(); ++variant) {
        outcomes.emplace_back();
        for (const uint64_t seed : judged.seeds) {
            const auto run = judged.judging_run(variant, seed);
            if (!run && !judged.diverged_in_tuning(variant)) return std::nullopt;
            const RunResult result =
                run ? judged.results.of(*run) : RunResult{.state = RunState::diverged, .outcome = {}};
            if (!result.is_final()) return std::nullopt;
            outcomes.back().push_back(result.outcome);
        }
    }
    return outcomes;
}

OrderedJson state_of(const Judged& judged, int64_t planned_judging) {
    int64_t done = 0, running = 0, diverged = 0, failed = 0, missing = 0, named = 0;
    for (const PlannedRun& run : judged.runs) {
        ++named;
        const RunState state = judged.results.of(run).state;
        done += state == RunState::ended || state == RunState::diverged;
        diverged += state == RunState::diverged;
        running += state == RunState::unfinished;
        failed += state == RunState::failed;
        missing += state == RunState::missing;
    }
    const int64_t to_come = judged.tuning.finished ? 0 : planned_judging; // not named before tuning ends
    return {{"planned", named + to_come}, {"done", done},     {"running", running},
            {"diverged", diverged},       {"failed", failed}, {"missing", missing + to_come}};
}

OrderedJson describe_variant(const Judged& judged, size_t index, const std::optional<Analysis>& analysis) {
    const Variant& variant = judged.plan.variants[index];
    OrderedJson json = {{"id", variant.id},
                        {"label", variant.label},
                        {"values", variant.levels},
                        {"is_reference", variant.is_reference},
                        {"total_parameters", variant.size.total_parameters},
                        {"active_parameters", variant.size.active_parameters},
                        {"flops_per_token", variant.size.flops_per_token}};
    if (variant.adjusted)
        json["adjusted"] = {{"key", variant.adjusted->key},
                            {"value", std::to_string(variant.adjusted->value)},
                            {"residue", variant.adjusted->residue}};
    if (!judged.tuning.chosen.empty() && judged.tuning.chosen[index])
        json["rate"] = *judged.tuning.chosen[index];
    OrderedJson by_seed = OrderedJson::object();
    int64_t diverged = 0;
    double sum = 0;
    for (const uint64_t seed : judged.seeds) {
        const auto run = judged.judging_run(index, seed);
        const RunResult result = run ? judged.results.of(*run) : RunResult{};
        const bool is_diverged = result.state == RunState::diverged || judged.diverged_in_tuning(index);
        diverged += is_diverged;
        if (is_diverged) by_seed[std::to_string(seed)] = nullptr;
        if (result.outcome) by_seed[std::to_string(seed)] = *result.outcome;
        sum += result.outcome.value_or(0);
    }
    json["diverged"] = diverged;
    json["of"] = judged.seeds.size();
    const bool is_whole = diverged == 0 && by_seed.size() == judged.seeds.size();
    if (is_whole) json["mean"] = sum / static_cast<double>(judged.seeds.size());
    json["by_seed"] = std::move(by_seed);
    if (analysis && analysis->differences[index])
        json["difference"] = to_json(*analysis->differences[index], judged.plan);
    return json;
}

void add_noise(const Analysis& analysis, OrderedJson& json) {
    if (!analysis.noise) return;
    const Noise& noise = *analysis.noise;
    OrderedJson block = {{"sd", noise.sd},
                         {"degrees_of_freedom", noise.degrees_of_freedom},
                         {"method", noise.method == IntervalMethod::pooled
                                        ? "Dunnett, noise of all variants together"
                                        : "paired t of each variant, as their noise differs"}};
    if (noise.equal_variances_p) block["equal_variances_p"] = *noise.equal_variances_p;
    block["pairing_correlation"] = noise.pairing_correlation;
    if (std::isfinite(noise.pairing_variance_factor))
        block["pairing_variance_factor"] = noise.pairing_variance_factor;
    json["noise"] = std::move(block);
}

void add_effects(const Analysis& analysis, const SweepPlan& plan, OrderedJson& json) {
    const auto& axes = plan.sweep.axes;
    OrderedJson effects = OrderedJson::array(), interactions = OrderedJson::array();
    for (const MainEffect& effect : analysis.main_effects) {
        const SweepAxis& axis = axes[effect.axis];
        effects.push_back({{"axis", axis.name},
                           {"level", axis.levels[effect.level].label},
                           {"reference_level", plan.sweep.reference.at(axis.name)},
                           {"difference", to_json(effect.difference, plan)}});
    }
    for (const Interaction& interaction : analysis.interactions)
        interactions.push_back({{"axes", {axes[interaction.axes[0]].name, axes[interaction.axes[1]].name}},
                                {"f", interaction.f},
                                {"df", interaction.degrees_of_freedom},
                                {"p", interaction.p}});
    if (!effects.empty()) json["main_effects"] = std::move(effects);
    if (!interactions.empty()) json["interactions"] = std::move(interactions);
}

OrderedJson tuning_json(const Judged& judged) {
    OrderedJson points = OrderedJson::array();
    double hours = 0;
    std::set<std::string> counted; // a trunk is a run for each of its stops
    for (const PlannedRun& run : judged.runs) {
        const auto& seeds = judged.plan.tune_seeds;
        const bool tunes = std::find(seeds.begin(), seeds.end(), run.seed) != seeds.end();
        if (tunes && counted.insert(run.id).second) hours += judged.results.of(run).hours;
    }
    for (const TuningPoint& point : judged.tuning.points) {
        OrderedJson by_seed = OrderedJson::object();
        for (const auto& [seed, value] : point.by_seed)
            by_seed[std::to_string(seed)] = value ? OrderedJson(*value) : OrderedJson(nullptr);
        OrderedJson json = {{"variant", judged.plan.variants[point.variant].id},
                            {"value", point.value},
                            {"by_seed", by_seed},
                            {"diverged", point.diverged},
                            {"chosen", point.chosen}};
        if (point.steps > 0) json["steps"] = point.steps;
        if (point.mean) json["mean"] = *point.mean;
        points.push_back(std::move(json));
    }
    return {{"key", judged.plan.sweep.tune.key}, {"hours", hours}, {"points", points}};
}

/// Other metrics of the judged runs, without verdicts: they were not what the plan asked.
OrderedJson exploratory(const Judged& judged) {
    OrderedJson blocks = OrderedJson::array();
    for (const std::string& metric : metrics_of(judged.plan.base)) {
        if (metric == judged.plan.sweep.outcome.metric) continue;
        std::vector<std::optional<double>> means;
        for (size_t variant = 0; variant < judged.plan.variants.size(); ++variant) {
            double sum = 0;
            int64_t found = 0;
            for (const uint64_t seed : judged.seeds)
                if (const auto run = judged.judging_run(variant, seed))
                    if (const auto value = last_metric(run->folder, metric)) {
                        sum += *value;
                        ++found;
                    }
            const bool is_whole = found == static_cast<int64_t>(judged.seeds.size());
            means.push_back(is_whole ? std::optional(sum / static_cast<double>(found)) : std::nullopt);
        }
        OrderedJson variants = OrderedJson::array();
        for (size_t variant = 0; variant < means.size(); ++variant) {
            if (!means[variant]) continue;
            OrderedJson json = {{"id", judged.plan.variants[variant].id}, {"mean", *means[variant]}};
            if (means[judged.plan.reference])
                json["difference"] = *means[variant] - *means[judged.plan.reference];
            variants.push_back(std::move(json));
        }
        if (!variants.empty()) blocks.push_back({{"metric", metric}, {"variants", variants}});
    }
    return blocks;
}

} // namespace

JudgeOptions Judged::options() const {
    JudgeOptions options{.reference = plan.reference,
                         .matters = plan.sweep.matters,
                         .looks = plan.sweep.looks,
                         .step_seeds = static_cast<int64_t>(plan.judge_seeds.size()) / plan.sweep.looks,
                         .levels = {}};
    if (plan.sweep.design == SweepDesign::grid) options.levels = levels_of(plan);
    return options;
}

OrderedJson to_json(const Difference& difference, const SweepPlan& plan) {
    if (difference.verdict == Verdict::diverged)
        return {{"verdict", "diverged"}, {"sentence", sentence_of(difference, plan)}};
    OrderedJson json = {{"estimate", difference.estimate},
                        {"low", difference.low},
                        {"high", difference.high},
                        {"p", difference.p},
                        {"verdict", to_string(difference.verdict)}};
    if (difference.verdict == Verdict::undecided)
        json["seeds_needed"] =
            difference.seeds_needed ? OrderedJson(*difference.seeds_needed) : OrderedJson(nullptr);
    json["sentence"] = sentence_of(difference, plan);
    return json;
}

OrderedJson verdict_json(const SweepPlan& plan, const SweepFolder& folder, SweepResults& results,
                         int64_t look) {
    const Judged judged{plan, results, plan.seeds_at(look), results.runs(look), results.tuning()};
    const auto planned = static_cast<int64_t>(plan.variants.size() * judged.seeds.size());
    OrderedJson json = {{"format", 1},
                        {"sweep", plan.sweep.name},
                        {"plan_hash", folder.plan_hash()},
                        {"plan_changes", folder.plan_changes()},
                        {"state", state_of(judged, planned)},
                        {"outcome",
                         {{"metric", plan.sweep.outcome.metric},
                          {"at", to_string(plan.sweep.outcome.at)},
                          {"unit", unit_of(plan.sweep.outcome.metric)},
                          {"lower_is_better", true},
                          {"matters", plan.sweep.matters}}},
                        {"reference", plan.variants[plan.reference].id}};
    JudgeOptions options = judged.options();
    json["alpha"] = options.alpha;
    json["looks"] = {{"planned", plan.sweep.looks},
                     {"this", look},
                     {"alpha", options.alpha / static_cast<double>(plan.sweep.looks)}};
    std::vector<std::string> notes = plan_notes(plan);
    std::optional<Analysis> analysis;
    if (const auto outcomes = outcomes_of(judged)) {
        analysis = judge(*outcomes, options);
        add_noise(*analysis, json);
        notes.insert(notes.end(), analysis->notes.begin(), analysis->notes.end());
    } else {
        notes.push_back("some runs are missing: no verdict yet");
    }
    OrderedJson variants = OrderedJson::array();
    for (size_t variant = 0; variant < plan.variants.size(); ++variant)
        variants.push_back(describe_variant(judged, variant, analysis));
    json["variants"] = std::move(variants);
    if (analysis) add_effects(*analysis, plan, json);
    if (!plan.sweep.tune.key.empty()) json["tuning"] = tuning_json(judged);
    if (analysis) {
        if (OrderedJson views = other_views(judged); !views.empty()) json["views"] = std::move(views);
        json["exploratory"] = exploratory(judged);
    }
    notes.insert(notes.end(), judged.tuning.notes.begin(), judged.tuning.notes.end());
    json["notes"] = notes;
    return json;
}

} // namespace braid

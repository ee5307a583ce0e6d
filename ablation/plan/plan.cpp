#include "ablation/plan/plan.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <cctype>
#include <charconv>
#include <cmath>
#include <filesystem>
#include <set>

#include "ablation/plan/match.h"
#include "base/error.h"
#include "base/sha256.h"
#include "base/yaml_document.h"
#include "trainer/config/run_check.h"
#include "trainer/config/run_schema.h"

namespace braid {
namespace {

constexpr int64_t kMostSavesOfTrunk = 20; // on the way to a step at which others leave it
constexpr size_t kMostVariants = 1000, kLongestId = 160;

/// Letters, digits, points, _ and -: what a folder's name may hold everywhere.
std::string for_folder(std::string text) {
    for (char& c : text)
        if (!(std::isalnum(static_cast<unsigned char>(c)) || c == '.' || c == '_')) c = '-';
    return text;
}

Variant combine(const std::vector<SweepAxis>& axes, const std::vector<size_t>& chosen) {
    Variant variant;
    for (size_t i = 0; i < axes.size(); ++i) {
        const AxisLevel& level = axes[i].levels[chosen[i]];
        variant.id += (i ? "_" : "") + axes[i].name + "-" + for_folder(level.label);
        variant.label += (i ? ", " : "") + axes[i].name + " " + level.label;
        variant.levels[axes[i].name] = level.label;
        for (const auto& [key, value] : level.settings)
            if (!variant.settings.emplace(key, value).second)
                throw ConfigError("axes.{}: {} is set by another axis too", axes[i].name, key);
    }
    if (variant.id.size() > kLongestId) variant.id.resize(kLongestId);
    return variant;
}

bool is_within(const Settings& combination, const Settings& levels) {
    return std::all_of(combination.begin(), combination.end(),
                       [&](const auto& entry) { return levels.at(entry.first) == entry.second; });
}

/// Combinations in the order of the file, the last axis fastest.
std::vector<Variant> all_variants(const SweepConfig& sweep) {
    std::vector<Variant> variants;
    std::vector<size_t> chosen(sweep.axes.size(), 0);
    for (bool more = true; more;) {
        Variant variant = combine(sweep.axes, chosen);
        size_t differing = 0;
        for (const auto& [axis, label] : variant.levels) differing += label != sweep.reference.at(axis);
        variant.is_reference = differing == 0;
        const bool excluded =
            std::any_of(sweep.exclude.begin(), sweep.exclude.end(),
                        [&](const Settings& combination) { return is_within(combination, variant.levels); });
        if (excluded && variant.is_reference) throw ConfigError("exclude: leaves out the reference");
        if (!excluded && (sweep.design == SweepDesign::grid || differing <= 1)) variants.push_back(variant);
        if (variants.size() > kMostVariants)
            throw ConfigError("axes: expected at most {} combinations, found more", kMostVariants);
        size_t axis = sweep.axes.size();
        while (axis > 0 && ++chosen[axis - 1] == sweep.axes[axis - 1].levels.size()) chosen[--axis] = 0;
        more = axis > 0;
    }
    if (variants.size() < 2)
        throw ConfigError("axes: expected at least two variants, found {}", variants.size());
    std::set<std::string> ids;
    for (Variant& variant : variants) {
        const std::string plain = variant.id; // labels that differ in other characters alone look alike
        for (int number = 2; !ids.insert(variant.id).second; ++number)
            variant.id = fmt::format("{}-{}", plain, number);
    }
    return variants;
}

std::vector<std::string> overrides_of(const Settings& settings) {
    std::vector<std::string> overrides;
    for (const auto& [key, value] : settings) overrides.push_back(key + "=" + value);
    return overrides;
}

/// Runs `read`, and says of whom its complaints are.
template <typename Read>
auto named(const std::string& who, const Read& read) {
    try {
        return read();
    } catch (const Error& error) {
        throw_error(error.exit_code(), who + ": " + error.what());
    }
}

std::vector<uint64_t> seeds_from(const SeedList& list, uint64_t first, int64_t looks) {
    if (!list.seeds.empty()) return list.seeds;
    std::vector<uint64_t> seeds;
    for (int64_t i = 0; i < list.count * looks; ++i) seeds.push_back(first + static_cast<uint64_t>(i));
    return seeds;
}

void choose_seeds(SweepPlan& plan) {
    const SweepConfig& sweep = plan.sweep;
    plan.judge_seeds = seeds_from(sweep.seeds, plan.base.seed, sweep.looks);
    if (sweep.tune.key.empty()) return;
    const uint64_t behind = *std::max_element(plan.judge_seeds.begin(), plan.judge_seeds.end()) + 1;
    plan.tune_seeds = seeds_from(sweep.tune.seeds, behind, 1);
    for (const uint64_t seed : plan.tune_seeds)
        if (std::find(plan.judge_seeds.begin(), plan.judge_seeds.end(), seed) != plan.judge_seeds.end())
            throw ConfigError("tune.seeds: {} judges too: what a rate was chosen by cannot judge it", seed);
}

/// The whole number at a key of a resolved run.
int64_t number_at(const RunConfig& run, const std::string& key, const std::string& variant) {
    const YamlNode tree = run_schema().write(run);
    const YamlNode* node = &tree;
    for (size_t begin = 0; node && begin <= key.size();) {
        const size_t end = std::min(key.find('.', begin), key.size());
        node = node->find(key.substr(begin, end - begin));
        begin = end + 1;
    }
    int64_t value = 0;
    const bool is_number =
        node && node->is_scalar() &&
        std::from_chars(node->scalar.data(), node->scalar.data() + node->scalar.size(), value).ec ==
            std::errc();
    if (!is_number)
        throw ConfigError("match.adjust: {}: expected a key with a whole number, found {} at {}", variant,
                          node ? node->shown() : "nothing", key);
    return value;
}

void match_sizes(SweepPlan& plan) {
    const MatchConfig& match = plan.sweep.match;
    if (match.adjust.empty()) return;
    const ModelSize reference = plan.variants[plan.reference].size;
    for (Variant& variant : plan.variants) {
        if (variant.is_reference) continue;
        const auto size_with = [&](int64_t value) {
            Variant adjusted = variant;
            adjusted.settings[match.adjust] = std::to_string(value);
            return model_size(
                run_config(plan, adjusted, {.seed = plan.base.seed, .tuned = {}, .run_dir = {}}));
        };
        const RunConfig as_is =
            run_config(plan, variant, {.seed = plan.base.seed, .tuned = {}, .run_dir = {}});
        variant.adjusted = solve_match(match, reference, number_at(as_is, match.adjust, variant.label),
                                       size_with, variant.label);
        variant.settings[match.adjust] = std::to_string(variant.adjusted->value);
        variant.size = size_with(variant.adjusted->value);
    }
}

void expect_distinct(const SweepPlan& plan, const std::vector<RunConfig>& runs) {
    for (size_t i = 0; i < runs.size(); ++i)
        for (size_t j = 0; j < i; ++j)
            // Models of other sizes are no equal runs; comparing every key of many pairs takes seconds.
            if (plan.variants[i].size == plan.variants[j].size &&
                numeric_differences(runs[i], runs[j]).empty())
                throw ConfigError(
                    "axes: {} and {} are the same run: nothing that changes its numbers differs",
                    plan.variants[j].label, plan.variants[i].label);
}

/// Runs of tuning by halving decay to their end, short ones too.
void expect_rungs(const SweepPlan& plan, const std::vector<RunConfig>& runs) {
    const TuneConfig& tune = plan.sweep.tune;
    if (tune.key.empty() || tune.method != TuneMethod::halving) return;
    for (size_t variant = 0; variant < runs.size(); ++variant) {
        const ScheduleConfig& schedule = runs[variant].optimizer.schedule;
        if (schedule.type != ScheduleType::wsd)
            throw ConfigError(
                "tune.method: halving needs optimizer.schedule.type wsd, whose decay short runs "
                "have too; {} has {}",
                plan.variants[variant].label, to_string(schedule.type));
        const int64_t steps = rung_steps(plan, variant, 0);
        if (steps == 0) continue;
        named("tune.method: halving begins with runs of " + std::to_string(steps) + " steps", [&] {
            run_config(plan, plan.variants[variant],
                       {.seed = plan.base.seed, .tuned = tune.values[0], .steps = steps});
        });
    }
}

void check_metric(const SweepPlan& plan) {
    const std::string& metric = plan.sweep.outcome.metric;
    if (metric == "loss") return;
    std::vector<std::string> known = metrics_of(plan.base);
    std::erase_if(known, is_accuracy);
    const bool has_sets = !plan.base.data.validation.empty() || !plan.base.eval.tasks.empty();
    const bool evaluates = plan.base.eval.every > 0 && has_sets;
    if (std::find(known.begin(), known.end(), metric) == known.end())
        throw ConfigError("outcome.metric: expected one of {}, found {}", fmt::join(known, ", "), metric);
    if (!evaluates)
        throw ConfigError("outcome.metric: {} needs evaluations: set eval.every and data.validation in {}",
                          metric, plan.base_path);
}

/// Changes what depends on the resolved file; whether there was anything to change.
bool adapt(RunConfig& config, const RunSettings& run) {
    TrainConfig& train = config.train;
    if (run.steps > 0) {
        int64_t& decay = config.optimizer.schedule.decay_steps;
        const double share = static_cast<double>(run.steps) / static_cast<double>(train.steps);
        decay = std::max<int64_t>(std::llround(share * static_cast<double>(decay)), 1);
        train.steps = run.steps;
        train.stop_at = 0;
    }
    if (run.stop_at > 0) {
        train.stop_at = run.stop_at;
        config.checkpoint.keep = 0; // others leave it where it stopped before
        // As none goes, there are to be few.
        int64_t& every = config.checkpoint.every;
        if (every > 0) every = std::max(every, (run.stop_at + kMostSavesOfTrunk - 1) / kMostSavesOfTrunk);
    }
    if (!run.branch_of.empty()) config.start = {.from = run.branch_of, .mode = StartMode::branch};
    return run.steps > 0 || run.stop_at > 0 || !run.branch_of.empty();
}

std::string hash_of(const SweepConfig& sweep, const RunConfig& base) {
    return sha256_hex(to_yaml(sweep) + to_yaml(base));
}

} // namespace

std::vector<std::string> metrics_of(const RunConfig& run) {
    std::vector<std::string> metrics = {"loss", "eval_loss"};
    for (const auto& [name, source] : run.data.validation)
        for (const char* what : {"loss", "bits_per_byte"})
            metrics.push_back(fmt::format("eval/{}/{}", name, what));
    for (const auto& [name, task] : run.eval.tasks)
        for (const char* what : {"bits_per_byte", "accuracy", "accuracy_norm"})
            metrics.push_back(fmt::format("task/{}/{}", name, what));
    return metrics;
}

bool is_accuracy(const std::string& metric) {
    return metric.ends_with("/accuracy") || metric.ends_with("/accuracy_norm");
}

std::vector<uint64_t> SweepPlan::seeds_at(int64_t look) const {
    const auto count = static_cast<int64_t>(judge_seeds.size()) / sweep.looks * look;
    return {judge_seeds.begin(), judge_seeds.begin() + count};
}

RunConfig run_config(const SweepPlan& plan, const Variant& variant, const RunSettings& run) {
    std::vector<std::string> overrides = overrides_of(plan.sweep.set);
    for (std::string& line : overrides_of(variant.settings)) overrides.push_back(std::move(line));
    if (run.tuned) overrides.push_back(fmt::format("{}={}", plan.sweep.tune.key, write_number(*run.tuned)));
    overrides.push_back(fmt::format("seed={}", run.seed));
    overrides.push_back(fmt::format("name={}", variant.id));
    if (!run.run_dir.empty()) overrides.push_back("run_dir=" + to_flow_yaml(YamlNode::string(run.run_dir)));
    return named(variant.label, [&] {
        RunConfig config = read_run_config(plan.base_path, overrides);
        return adapt(config, run) ? parse_stored_config(to_yaml(config), plan.base_path) : config;
    });
}

int num_rungs(const TuneConfig& tune) {
    int rungs = 1;
    if (tune.method == TuneMethod::halving)
        for (size_t values = tune.values.size(); values > 2; values = (values + 1) / 2) ++rungs;
    return rungs;
}

int64_t rung_steps(const SweepPlan& plan, size_t variant, int rung) {
    const int doublings = num_rungs(plan.sweep.tune) - 1 - rung;
    return doublings == 0 ? 0 : std::max<int64_t>(plan.variants[variant].steps >> doublings, 1);
}

SweepPlan make_plan(const SweepConfig& sweep, const std::string& path) {
    SweepPlan plan;
    plan.sweep = sweep;
    plan.base_path = (std::filesystem::path(path).parent_path() / sweep.extends).string();
    plan.base = named("extends", [&] { return read_run_config(plan.base_path, overrides_of(sweep.set)); });
    plan.variants = named(path, [&] { return all_variants(sweep); });
    named(path, [&] {
        choose_seeds(plan);
        check_metric(plan);
    });
    std::vector<RunConfig> runs;
    for (Variant& variant : plan.variants) {
        // With a value of the tuned key, so that a key nobody has is found now.
        const auto tuned = sweep.tune.key.empty() ? std::optional<double>() : sweep.tune.values[0];
        runs.push_back(
            named(path, [&] { return run_config(plan, variant, {.seed = plan.base.seed, .tuned = tuned}); }));
        const TrainConfig& train = runs.back().train;
        variant.steps = train.stop_at > 0 ? std::min(train.stop_at, train.steps) : train.steps;
        variant.tokens = static_cast<double>(variant.steps) *
                         static_cast<double>(train.global_batch * train.sequence_length);
        variant.size = model_size(runs.back());
    }
    const auto reference = std::find_if(plan.variants.begin(), plan.variants.end(),
                                        [](const Variant& variant) { return variant.is_reference; });
    plan.reference = static_cast<size_t>(reference - plan.variants.begin());
    named(path, [&] {
        expect_distinct(plan, runs);
        expect_rungs(plan, runs);
        match_sizes(plan);
    });
    plan.hash = hash_of(sweep, plan.base);
    return plan;
}

void expect_plan_starts(const SweepPlan& plan, int num_ranks) {
    for (const Variant& variant : plan.variants) {
        const RunConfig run = run_config(plan, variant, {.seed = plan.base.seed});
        // Data files are the same for most, and checked once.
        named(variant.label, [&] {
            find_run_faults(run, num_ranks, {.data = variant.is_reference || !(run.data == plan.base.data)})
                .raise();
        });
    }
}

std::vector<std::string> plan_notes(const SweepPlan& plan) {
    std::vector<std::string> notes;
    const RunConfig other = run_config(plan, plan.variants[plan.reference], {.seed = plan.base.seed + 1});
    if (other.data.seed == plan.base.data.seed)
        notes.push_back(
            "data.seed is set in the run file: all seeds see the data in one order, and differ in "
            "initial weights alone");
    return notes;
}

} // namespace braid

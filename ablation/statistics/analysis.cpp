#include "ablation/statistics/analysis.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <mutex>
#include <tuple>

#include "ablation/statistics/distributions.h"
#include "base/error.h"
#include "base/rng.h"

namespace braid {
namespace {

/// Dunnett's value for `comparisons` with one reference, all of as many runs. Known values are kept, as
/// judging many tables asks for few.
double critical_value(double alpha, int64_t comparisons, double df) {
    static std::mutex mutex;
    static std::map<std::tuple<double, int64_t, double>, double> known;
    const std::tuple key(alpha, comparisons, df);
    {
        const std::lock_guard lock(mutex);
        const auto found = known.find(key);
        if (found != known.end()) return found->second;
    }
    const double value =
        dunnett_critical(alpha, std::vector<double>(static_cast<size_t>(comparisons), std::sqrt(0.5)), df);
    const std::lock_guard lock(mutex);
    return known.emplace(key, value).first->second;
}

double adjusted_p(double t, int64_t comparisons, double df) {
    if (std::isnan(t)) return 1; // 0 / 0: no difference and no noise
    return dunnett_p(std::abs(t), std::vector<double>(static_cast<size_t>(comparisons), std::sqrt(0.5)), df);
}

double mean(const std::vector<double>& values) {
    double sum = 0;
    for (const double value : values) sum += value;
    return sum / static_cast<double>(values.size());
}

/// The whole variants' outcomes, and what the additive model makes of them.
struct Table {
    std::vector<size_t> variants; // their indices
    std::vector<std::vector<double>> x, residuals;
    std::vector<double> variant_means;
    double seed_mean_square = 0; // between seeds
    double variance = 0;         // of residuals
    double df = 0;

    size_t num_seeds() const { return x[0].size(); }
    /// Of a mean of `count` runs minus another of as many.
    double error_of_difference(double count) const { return std::sqrt(2 * variance / count); }
};

Table whole_table(const Outcomes& outcomes) {
    Table table;
    for (size_t v = 0; v < outcomes.size(); ++v) {
        const auto& row = outcomes[v];
        if (!std::all_of(row.begin(), row.end(), [](const auto& value) { return value.has_value(); }))
            continue;
        table.variants.push_back(v);
        table.x.emplace_back();
        for (const auto& value : row) table.x.back().push_back(*value);
        table.variant_means.push_back(mean(table.x.back()));
    }
    return table;
}

/// Fisher's decomposition: x = mean + variant + seed + residual.
void fit(Table& table) {
    const size_t seeds = table.num_seeds();
    const double grand = mean(table.variant_means);
    std::vector<double> seed_means(seeds, 0);
    for (const auto& row : table.x)
        for (size_t s = 0; s < seeds; ++s) seed_means[s] += row[s] / static_cast<double>(table.x.size());
    double squares = 0, seed_squares = 0;
    for (size_t v = 0; v < table.x.size(); ++v) {
        table.residuals.emplace_back();
        for (size_t s = 0; s < seeds; ++s) {
            const double r = table.x[v][s] - table.variant_means[v] - seed_means[s] + grand;
            table.residuals.back().push_back(r);
            squares += r * r;
        }
    }
    for (const double m : seed_means) seed_squares += (m - grand) * (m - grand);
    const auto blocks = static_cast<double>(seeds - 1);
    table.df = static_cast<double>(table.x.size() - 1) * blocks;
    table.variance = squares / table.df;
    table.seed_mean_square = static_cast<double>(table.x.size()) * seed_squares / blocks;
}

double sum_of_squares(const std::vector<double>& values) {
    double sum = 0;
    for (const double value : values) sum += value * value;
    return sum;
}

/// The largest row's part of all squares.
double largest_share(const std::vector<std::vector<double>>& residuals) {
    double largest = 0, total = 0;
    for (const auto& row : residuals) {
        const double squares = sum_of_squares(row);
        largest = std::max(largest, squares);
        total += squares;
    }
    return largest / total;
}

/// largest_share of tables of normal numbers, ascending. Made once for each size.
const std::vector<double>& simulated_shares(size_t variants, size_t seeds) {
    static std::mutex mutex;
    static std::map<std::pair<size_t, size_t>, std::vector<double>> known;
    const std::lock_guard lock(mutex);
    std::vector<double>& shares = known[{variants, seeds}];
    if (!shares.empty()) return shares;
    const RngStream stream(1, RngPurpose::synthesis, fmt::format("{} x {} normal numbers", variants, seeds));
    for (int i = 0; i < kSimulatedTables; ++i) {
        Table table;
        for (size_t v = 0; v < variants; ++v) {
            table.x.emplace_back();
            for (size_t s = 0; s < seeds; ++s)
                table.x.back().push_back(stream.normal(v * seeds + s, static_cast<uint64_t>(i)));
            table.variant_means.push_back(mean(table.x.back()));
        }
        fit(table);
        shares.push_back(largest_share(table.residuals));
    }
    std::sort(shares.begin(), shares.end());
    return shares;
}

Noise noise_of(const Table& table) {
    Noise noise{.sd = std::sqrt(table.variance), .degrees_of_freedom = table.df, .equal_variances_p = {}};
    if (table.x.size() > 3 && table.num_seeds() > 3) {
        noise.equal_variances_p = equal_noise_p(table.residuals);
        if (*noise.equal_variances_p < kNoiseLevel) noise.method = IntervalMethod::paired;
    }
    // The seeds' share of the variance, as mean squares tell it.
    const auto count = static_cast<double>(table.x.size());
    const double between = std::max(0.0, (table.seed_mean_square - table.variance) / count),
                 total = between + table.variance;
    if (total > 0) noise.pairing_correlation = between / total;
    noise.pairing_variance_factor = noise.pairing_correlation < 1 ? 1 / (1 - noise.pairing_correlation)
                                                                  : std::numeric_limits<double>::infinity();
    return noise;
}

/// How differences are judged together.
struct Comparison {
    double alpha;
    int64_t comparisons;
    IntervalMethod method;

    double critical(double df) const {
        if (method == IntervalMethod::pooled) return critical_value(alpha, comparisons, df);
        return critical_value(alpha / static_cast<double>(comparisons), 1, df);
    }
    double p(double t, double df) const {
        if (method == IntervalMethod::pooled) return adjusted_p(t, comparisons, df);
        return std::min(1.0, static_cast<double>(comparisons) * adjusted_p(t, 1, df));
    }
};

/// The fewest seeds at which this estimate and noise would decide, in steps of `step`; df grows with seeds
/// - 1.
std::optional<int64_t> seeds_needed(const Comparison& comparison, double estimate, double error, double df,
                                    int64_t seeds, int64_t step, double matters) {
    const auto decides = [&](int64_t count) {
        const double more = static_cast<double>(count) / static_cast<double>(seeds),
                     blocks = static_cast<double>(count - 1) / static_cast<double>(seeds - 1);
        const double half = comparison.critical(df * blocks) * error / std::sqrt(more);
        return verdict_of(estimate - half, estimate + half, matters) != Verdict::undecided;
    };
    int64_t low = 0, high = 1; // further looks: not enough, enough
    while (seeds + high * step <= kMostSeedsTold && !decides(seeds + high * step)) {
        low = high;
        high *= 2;
    }
    high = std::min(high, (kMostSeedsTold - seeds) / step);
    if (high <= low || !decides(seeds + high * step)) return std::nullopt;
    while (high - low > 1) {
        const int64_t middle = (low + high) / 2;
        (decides(seeds + middle * step) ? high : low) = middle;
    }
    return seeds + high * step;
}

Difference difference_of(const Comparison& comparison, double estimate, double error, double df,
                         int64_t seeds, const JudgeOptions& options) {
    const double half = comparison.critical(df) * error;
    Difference difference{.estimate = estimate,
                          .low = estimate - half,
                          .high = estimate + half,
                          .p = options.p_values ? comparison.p(estimate / error, df) : 1,
                          .verdict = verdict_of(estimate - half, estimate + half, options.matters),
                          .seeds_needed = {}};
    if (difference.verdict == Verdict::undecided)
        difference.seeds_needed = seeds_needed(comparison, estimate, error, df, seeds,
                                               std::max<int64_t>(1, options.step_seeds), options.matters);
    return difference;
}

/// The standard error of a variant's own differences from the reference.
double paired_error(const std::vector<double>& variant, const std::vector<double>& reference) {
    std::vector<double> differences;
    for (size_t s = 0; s < variant.size(); ++s) differences.push_back(variant[s] - reference[s]);
    const double centre = mean(differences);
    double squares = 0;
    for (const double d : differences) squares += (d - centre) * (d - centre);
    const auto count = static_cast<double>(differences.size());
    return std::sqrt(squares / (count - 1) / count);
}

void compare_variants(const Table& table, size_t reference, const JudgeOptions& options, Analysis& analysis) {
    const auto seeds = static_cast<int64_t>(table.num_seeds());
    const Comparison comparison{options.alpha / static_cast<double>(options.looks),
                                static_cast<int64_t>(table.x.size()) - 1, analysis.noise->method};
    const bool pooled = comparison.method == IntervalMethod::pooled;
    for (size_t v = 0; v < table.x.size(); ++v) {
        if (v == reference) continue;
        const double error = pooled ? table.error_of_difference(static_cast<double>(seeds))
                                    : paired_error(table.x[v], table.x[reference]);
        analysis.differences[table.variants[v]] =
            difference_of(comparison, table.variant_means[v] - table.variant_means[reference], error,
                          pooled ? table.df : static_cast<double>(seeds - 1), seeds, options);
    }
}

/// The means of all cells of a grid that have these levels.
double marginal_mean(const Table& table, const JudgeOptions& options,
                     const std::vector<std::pair<size_t, size_t>>& axis_levels) {
    std::vector<double> cells;
    for (size_t v = 0; v < table.x.size(); ++v) {
        const auto& levels = options.levels[table.variants[v]];
        if (std::all_of(axis_levels.begin(), axis_levels.end(),
                        [&](const auto& wanted) { return levels[wanted.first] == wanted.second; }))
            cells.push_back(table.variant_means[v]);
    }
    return mean(cells);
}

std::vector<size_t> axis_sizes(const JudgeOptions& options) {
    std::vector<size_t> sizes(options.levels[0].size(), 0);
    for (const auto& levels : options.levels)
        for (size_t axis = 0; axis < sizes.size(); ++axis)
            sizes[axis] = std::max(sizes[axis], levels[axis] + 1);
    return sizes;
}

Interaction interaction_of(const Table& table, const JudgeOptions& options, const std::vector<size_t>& sizes,
                           size_t a, size_t b) {
    const double grand = marginal_mean(table, options, {});
    double squares = 0;
    for (size_t i = 0; i < sizes[a]; ++i)
        for (size_t j = 0; j < sizes[b]; ++j) {
            const double effect = marginal_mean(table, options, {{a, i}, {b, j}}) -
                                  marginal_mean(table, options, {{a, i}}) -
                                  marginal_mean(table, options, {{b, j}}) + grand;
            squares += effect * effect;
        }
    const auto runs = static_cast<double>(table.x.size() * table.num_seeds());
    const double cells = static_cast<double>(sizes[a] * sizes[b]),
                 df = static_cast<double>((sizes[a] - 1) * (sizes[b] - 1));
    Interaction result{.axes = {a, b}, .degrees_of_freedom = {df, table.df}};
    const double mean_square = squares * runs / cells / df;
    if (table.variance > 0) {
        result.f = mean_square / table.variance;
        result.p = f_p(result.f, df, table.df);
    }
    return result;
}

/// Levels against the reference's, over all else, and whether axes act apart. Of a full grid only.
void compare_levels(const Table& table, const JudgeOptions& options, Analysis& analysis) {
    if (options.levels.empty()) return;
    const std::vector<size_t> sizes = axis_sizes(options);
    size_t cells = 1;
    for (const size_t size : sizes) cells *= size;
    if (sizes.size() < 2) return; // the variants say it all
    if (cells != table.x.size()) {
        analysis.notes.emplace_back(
            "main effects and interactions: not every combination of levels is there whole");
        return;
    }
    const auto& reference = options.levels[options.reference];
    const auto seeds = static_cast<int64_t>(table.num_seeds());
    for (size_t axis = 0; axis < sizes.size(); ++axis) {
        if (sizes[axis] < 2) continue;
        const Comparison comparison{options.alpha / static_cast<double>(options.looks),
                                    static_cast<int64_t>(sizes[axis]) - 1, IntervalMethod::pooled};
        const double runs = static_cast<double>(table.x.size() / sizes[axis]) * static_cast<double>(seeds);
        const double of_reference = marginal_mean(table, options, {{axis, reference[axis]}});
        for (size_t level = 0; level < sizes[axis]; ++level)
            if (level != reference[axis])
                analysis.main_effects.push_back(
                    {axis, level,
                     difference_of(comparison, marginal_mean(table, options, {{axis, level}}) - of_reference,
                                   table.error_of_difference(runs), table.df, seeds, options)});
    }
    for (size_t a = 0; a < sizes.size(); ++a)
        for (size_t b = a + 1; b < sizes.size(); ++b)
            if (sizes[a] > 1 && sizes[b] > 1)
                analysis.interactions.push_back(interaction_of(table, options, sizes, a, b));
}

void check_table(const Outcomes& outcomes, const JudgeOptions& options) {
    if (outcomes.size() < 2 || outcomes[0].size() < 2)
        throw ConfigError("a verdict: expected at least two variants and two seeds, found {} and {}",
                          outcomes.size(), outcomes.empty() ? 0 : outcomes[0].size());
    if (options.reference >= outcomes.size() || !(options.matters >= 0) ||
        !(options.alpha > 0 && options.alpha < 1) || options.looks < 1)
        throw ConfigError("a verdict: reference {} of {}, matters {}, alpha {}, looks {}", options.reference,
                          outcomes.size(), options.matters, options.alpha, options.looks);
    for (const auto& row : outcomes) {
        if (row.size() != outcomes[0].size())
            throw ConfigError("a verdict: expected {} seeds of every variant, found {}", outcomes[0].size(),
                              row.size());
        for (const auto& value : row)
            if (value && !std::isfinite(*value)) throw ConfigError("a verdict: an outcome is {}", *value);
    }
}

} // namespace

Verdict verdict_of(double low, double high, double matters) {
    if (low >= -matters && high <= matters) return Verdict::equal;
    if (high < 0) return Verdict::better;
    if (low > 0) return Verdict::worse;
    return Verdict::undecided;
}

double equal_noise_p(const std::vector<std::vector<double>>& residuals) {
    double total = 0;
    for (const auto& row : residuals) total += sum_of_squares(row);
    if (total == 0) return 1;
    const std::vector<double>& simulated = simulated_shares(residuals.size(), residuals[0].size());
    const double share = largest_share(residuals);
    const auto larger = simulated.end() - std::lower_bound(simulated.begin(), simulated.end(), share);
    return static_cast<double>(larger + 1) / static_cast<double>(simulated.size() + 1);
}

Analysis judge(const Outcomes& outcomes, const JudgeOptions& options) {
    check_table(outcomes, options);
    Analysis analysis;
    analysis.differences.resize(outcomes.size());
    for (size_t v = 0; v < outcomes.size(); ++v) {
        analysis.diverged.push_back(std::count(outcomes[v].begin(), outcomes[v].end(), std::nullopt));
        if (analysis.diverged[v] > 0 && v != options.reference)
            analysis.differences[v] = Difference{.verdict = Verdict::diverged, .seeds_needed = {}};
    }
    Table table = whole_table(outcomes);
    const auto reference = std::find(table.variants.begin(), table.variants.end(), options.reference);
    if (table.x.size() >= 2) {
        fit(table);
        analysis.noise = noise_of(table);
    }
    if (reference == table.variants.end()) {
        analysis.notes.emplace_back("the reference diverged: nothing can be compared with it");
        return analysis;
    }
    if (!analysis.noise) return analysis;
    compare_variants(table, static_cast<size_t>(reference - table.variants.begin()), options, analysis);
    compare_levels(table, options, analysis);
    return analysis;
}

double power(const PlannedTest& plan, double difference) {
    const double df = static_cast<double>((plan.variants - 1) * (plan.seeds - 1));
    const double c = critical_value(plan.alpha / static_cast<double>(plan.looks), plan.variants - 1, df);
    return noncentral_t_power(
        c, df, std::abs(difference) / (plan.noise_sd * std::sqrt(2 / static_cast<double>(plan.seeds))));
}

double smallest_difference(const PlannedTest& plan, double chance) {
    double low = 0, high = plan.noise_sd;
    while (power(plan, high) < chance) high *= 2;
    for (int i = 0; i < 60; ++i) {
        const double middle = (low + high) / 2;
        (power(plan, middle) < chance ? low : high) = middle;
    }
    return high;
}

} // namespace braid

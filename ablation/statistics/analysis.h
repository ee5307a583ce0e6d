#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/enum_names.h"

namespace braid {

// How a sweep is judged. Every seed gives one run of every variant, from the same initial numbers on the same
// data, so seeds are blocks: x[v][s] = variant v + seed s + noise. docs/verdicts.md says it in words.

/// The outcome of each run; none: it diverged.
using Outcomes = std::vector<std::vector<std::optional<double>>>; // [variant][seed], the same number of seeds

enum class Verdict {
    better,    // the whole interval lies on the good side of 0
    worse,     // on the bad side
    equal,     // within the smallest difference that matters, whether 0 is in it or not
    undecided, // none of these
    diverged,  // some runs of the variant are no number, or of the reference: nothing is averaged
};
constexpr auto enum_names(Verdict) {
    return std::array<std::string_view, 5>{"better", "worse", "equal", "undecided", "diverged"};
}

/// Variant minus reference, smaller being better.
struct Difference {
    double estimate = 0, low = 0, high = 0; // the interval is simultaneous over all differences beside it
    double p = 1;                           // of no difference, adjusted for as many comparisons
    Verdict verdict = Verdict::undecided;
    std::optional<int64_t>
        seeds_needed; // at which this estimate and noise would decide; none: beyond kMostSeedsTold
};
inline constexpr int64_t kMostSeedsTold = 1000;

enum class IntervalMethod {
    pooled, // Dunnett's, with the noise of all variants together
    paired, // Student's t of the differences of each variant alone, alpha divided over them (Bonferroni)
};

struct Noise {
    double sd = 0;                 // of one run beside variant and seed
    double degrees_of_freedom = 0; // (V - 1)(S - 1)
    IntervalMethod method = IntervalMethod::pooled;
    std::optional<double> equal_variances_p; // equal_noise_p; none with fewer than four variants or seeds
    double pairing_correlation = 0;          // of two variants' outcomes over seeds
    double pairing_variance_factor =
        1; // what variances of differences would be without pairing, over what they are
};

struct MainEffect {
    size_t axis = 0, level = 0; // compared with the reference's level of that axis
    Difference difference;
};
struct Interaction {
    std::array<size_t, 2> axes{};
    double f = 0, p = 1;
    std::array<double, 2> degrees_of_freedom{};
};

struct JudgeOptions {
    size_t reference = 0;
    double matters = 0; // half the width of what counts as equal
    double alpha = 0.05;
    int64_t looks = 1;      // that the plan allows: each is taken at alpha / looks
    int64_t step_seeds = 0; // seeds that a further look adds; 0: one
    /// The level of each variant on each axis, for main effects and interactions of a full grid; empty: none.
    std::vector<std::vector<size_t>> levels;
    bool p_values = true; // of differences; each costs a millisecond and more, which simulations save
};

struct Analysis {
    std::optional<Noise> noise;                         // none where fewer than two variants are whole
    std::vector<std::optional<Difference>> differences; // of each variant; none of the reference
    std::vector<int64_t> diverged;                      // runs of each variant
    std::vector<MainEffect> main_effects;
    std::vector<Interaction> interactions;
    std::vector<std::string> notes; // why something could not be judged
};

/// Judges by the residual of the additive model (Fisher's randomised blocks) over the variants without a
/// diverged run, with intervals that hold together (C. W. Dunnett, JASA 50, 1955). Where equal_noise_p is
/// below kNoiseLevel, each difference has its own. ConfigError for a table without two seeds,
/// outcomes that are no numbers, or a reference that is not in it.
Analysis judge(const Outcomes& outcomes, const JudgeOptions& options);
inline constexpr double kNoiseLevel = 0.02;

/// Of equal noise: Cochran's share of the largest row in the sum of squares of an additive model's residuals
/// (W. G. Cochran, Annals of Eugenics 11, 1941), each row a variant. Residuals of a table hang together, so
/// the share is held against that of kSimulatedTables tables of as many normal numbers, always the same ones:
/// exact for normal noise, to 1 / kSimulatedTables.
double equal_noise_p(const std::vector<std::vector<double>>& residuals);
inline constexpr int kSimulatedTables = 4999;

/// The verdict of an interval.
Verdict verdict_of(double low, double high, double matters);

/// A plan before its data: `variants` of which one is the reference, `seeds` of one look, noise of one run.
struct PlannedTest {
    int64_t variants = 2, seeds = 2;
    double noise_sd = 1, alpha = 0.05;
    int64_t looks = 1;
};
/// The chance that the interval of a variant excludes 0 when it differs by `difference`.
double power(const PlannedTest& plan, double difference);
/// The difference that is shown with this chance.
double smallest_difference(const PlannedTest& plan, double chance = 0.8);

} // namespace braid

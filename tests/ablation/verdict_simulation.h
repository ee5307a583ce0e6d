#pragma once

// Sweeps of which the truth is known, judged as `braid sweep` judges: how often does a family of verdicts
// err, and how often is a difference shown? For verdicts_simulation_test.cpp and bench/verdicts.cpp.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <thread>
#include <vector>

#include "ablation/statistics/analysis.h"
#include "ablation/statistics/distributions.h"

namespace braid::simulation {

struct SimulatedSweep {
    int64_t comparisons = 1;              // variants besides the reference, which is variant 0
    int64_t seeds = 4;                    // of one look
    double seed_sd = 2;                   // of what all variants of a seed share; the noise of one run is 1
    double reference_sd = 1, last_sd = 1; // noise of the reference's and of the last variant's runs
    bool heavy_tails = false; // noise is Student's t of 3 degrees of freedom, scaled to variance 1
    double difference = 0;    // of the last variant
    int64_t looks = 1;        // each has as many seeds more; none after all is decided
    /// Every variant chooses among three learning rates by the mean of two further seeds; the second and
    /// third are truly worse by rate_difference and twice that, for all variants alike.
    bool tuned = false;
    double rate_difference = 0;
};

struct Counts {
    int64_t sweeps = 0;
    int64_t errors = 0; // sweeps that call any variant but a truly different one better or worse
    int64_t shown = 0;  // that call the last variant worse
    int64_t paired = 0; // whose noise was found unequal
};

/// Numbers that depend on seed, sweep and how many were drawn before, on nothing else (SplitMix64).
class Draws {
  public:
    Draws(uint64_t seed, int64_t sweep) : state_(mixed(mixed(seed) + static_cast<uint64_t>(sweep))) {}

    double normal() {
        return std::sqrt(-2 * std::log(1 - uniform())) * std::cos(2 * M_PI * uniform()); // Box and Muller
    }
    double student3() {
        const double z = normal(), a = normal(), b = normal(), c = normal();
        return z / std::sqrt(a * a + b * b + c * c); // t / sqrt(3), of variance 1
    }

  private:
    static uint64_t mixed(uint64_t z) {
        z += 0x9e3779b97f4a7c15;
        z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
        z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
        return z ^ (z >> 31);
    }
    double uniform() {
        state_ += 0x9e3779b97f4a7c15;
        return static_cast<double>(mixed(state_) >> 11) / 9007199254740992.0; // 2^53
    }
    uint64_t state_;
};

class Simulated {
  public:
    Simulated(const SimulatedSweep& sweep, uint64_t seed, int64_t index)
        : sweep_(sweep), draws_(seed, index) {}

    void add_to(Counts& counts) {
        const auto variants = static_cast<size_t>(sweep_.comparisons) + 1;
        choose_rates(variants);
        Outcomes outcomes(variants);
        bool error = false, shown = false, paired = false;
        for (int64_t look = 0; look < sweep_.looks; ++look) {
            for (int64_t s = 0; s < sweep_.seeds; ++s) add_seed(outcomes);
            // Nothing is equal by so small a margin, and no further seeds are worked out.
            const Analysis analysis = judge(outcomes, {.matters = 1e-9,
                                                       .looks = sweep_.looks,
                                                       .step_seeds = kMostSeedsTold,
                                                       .levels = {},
                                                       .p_values = false});
            paired = paired || analysis.noise->method == IntervalMethod::paired;
            bool undecided = false;
            for (size_t v = 1; v < variants; ++v) {
                const Verdict verdict = analysis.differences[v]->verdict;
                undecided = undecided || verdict == Verdict::undecided;
                if (v == variants - 1 && sweep_.difference != 0)
                    shown = shown || verdict == Verdict::worse;
                else
                    error = error || verdict == Verdict::better || verdict == Verdict::worse;
            }
            if (!undecided) break;
        }
        ++counts.sweeps;
        counts.errors += error;
        counts.shown += shown;
        counts.paired += paired;
    }

  private:
    double noise(size_t v, size_t variants) {
        const double unit = sweep_.heavy_tails ? draws_.student3() : draws_.normal();
        if (v == 0) return unit * sweep_.reference_sd;
        return v == variants - 1 ? unit * sweep_.last_sd : unit;
    }

    void choose_rates(size_t variants) {
        rates_.assign(variants, 0);
        if (!sweep_.tuned) return;
        // What a seed adds to all runs changes no choice.
        for (size_t v = 0; v < variants; ++v) {
            double best = INFINITY;
            for (int rate = 0; rate < 3; ++rate) {
                const double loss =
                    rate * sweep_.rate_difference + (noise(v, variants) + noise(v, variants)) / 2;
                if (loss >= best) continue;
                best = loss;
                rates_[v] = rate * sweep_.rate_difference;
            }
        }
    }

    void add_seed(Outcomes& outcomes) {
        const double of_seed = sweep_.seed_sd * draws_.normal();
        for (size_t v = 0; v < outcomes.size(); ++v)
            outcomes[v].emplace_back(3 + of_seed + rates_[v] + noise(v, outcomes.size()) +
                                     (v + 1 == outcomes.size() ? sweep_.difference : 0));
    }

    SimulatedSweep sweep_;
    Draws draws_;
    std::vector<double> rates_;
};

/// `sweeps` of them on `threads` threads, the same ones for any number of threads.
inline Counts simulate(const SimulatedSweep& sweep, int64_t sweeps, uint64_t seed, int64_t threads = 2) {
    std::vector<Counts> parts(static_cast<size_t>(threads));
    {
        std::vector<std::jthread> running;
        for (int64_t t = 0; t < threads; ++t)
            running.emplace_back([&, t] {
                Counts counts;
                for (int64_t i = t; i < sweeps; i += threads) Simulated(sweep, seed, i).add_to(counts);
                parts[static_cast<size_t>(t)] = counts;
            });
    }
    Counts sum;
    for (const Counts& part : parts) {
        sum.sweeps += part.sweeps;
        sum.errors += part.errors;
        sum.shown += part.shown;
        sum.paired += part.paired;
    }
    return sum;
}

inline double share(int64_t count, const Counts& counts) {
    return static_cast<double>(count) / static_cast<double>(counts.sweeps);
}

/// The chance above which as few as `count` of `total` would be seen in 1 of 100 experiments (C. J. Clopper
/// and E. S. Pearson, Biometrika 26, 1934).
inline double upper_bound(int64_t count, int64_t total) {
    if (count >= total) return 1;
    const auto a = static_cast<double>(count + 1), b = static_cast<double>(total - count);
    double low = 0, high = 1;
    for (int i = 0; i < 60; ++i) {
        const double p = (low + high) / 2;
        // P(at most count) by the beta distribution's relation to F.
        (f_p(b * p / (a * (1 - p)), 2 * a, 2 * b) > 0.01 ? low : high) = p;
    }
    return high;
}

/// The power that judge() was promised to have, of a difference in units of the noise of one run.
inline double promised_power(const SimulatedSweep& sweep) {
    return power({.variants = sweep.comparisons + 1, .seeds = sweep.seeds, .looks = sweep.looks},
                 sweep.difference);
}

} // namespace braid::simulation

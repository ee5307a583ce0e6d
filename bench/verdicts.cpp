// bench_verdicts [sweeps [seed]]: how often a sweep's verdicts err and show, in sweeps of which the truth is
// known, as the tables of docs/verdicts.md. 10000 sweeps for each figure take some minutes.

#include <fmt/format.h>

#include <cstdlib>
#include <string>

#include "base/error.h"
#include "tests/ablation/verdict_simulation.h"

namespace braid {
namespace {

using namespace simulation;

constexpr int64_t kComparisons[] = {1, 2, 3, 5, 8, 12};
constexpr int64_t kSeeds[] = {2, 3, 4, 6, 8};

struct Run {
    int64_t sweeps;
    uint64_t seed;
    int64_t threads = std::max(1U, std::thread::hardware_concurrency());
};

/// Lines of comparisons, columns of seeds: percent of sweeps that err, with the largest 99% upper bound
/// below.
template <typename Cell>
double print_table(const std::string& title, Cell&& cell) {
    fmt::print("\n{}\n\n| comparisons |", title);
    for (const int64_t seeds : kSeeds) fmt::print(" {} seeds |", seeds);
    fmt::print("\n|---|---|---|---|---|---|\n");
    double worst = 0;
    for (const int64_t comparisons : kComparisons) {
        fmt::print("| {} |", comparisons);
        for (const int64_t seeds : kSeeds) {
            const auto [text, value] = cell(comparisons, seeds);
            fmt::print(" {} |", text);
            worst = std::max(worst, value);
        }
        fmt::print("\n");
        std::fflush(stdout);
    }
    return worst;
}

void print_errors(const Run& run, const std::string& title, SimulatedSweep sweep) {
    double most_paired = 0;
    const double worst = print_table(title, [&](int64_t comparisons, int64_t seeds) {
        sweep.comparisons = comparisons;
        sweep.seeds = seeds;
        const Counts counts = simulate(sweep, run.sweeps, run.seed, run.threads);
        most_paired = std::max(most_paired, share(counts.paired, counts));
        return std::pair(fmt::format("{:.2f}", 100 * share(counts.errors, counts)),
                         upper_bound(counts.errors, counts.sweeps));
    });
    fmt::print("\nlargest 99% upper bound {:.2f}%; noise found unequal in at most {:.1f}%\n", 100 * worst,
               100 * most_paired);
}

void print_power(const Run& run, double times) {
    const double worst = print_table(
        fmt::format("percent shown / promised at {} of the smallest difference", times),
        [&](int64_t comparisons, int64_t seeds) {
            SimulatedSweep sweep{.comparisons = comparisons, .seeds = seeds};
            sweep.difference =
                times * smallest_difference({.variants = comparisons + 1, .seeds = seeds, .noise_sd = 1});
            const Counts counts = simulate(sweep, run.sweeps, run.seed, run.threads);
            const double shown = share(counts.shown, counts), promised = promised_power(sweep);
            return std::pair(fmt::format("{:.1f} / {:.1f}", 100 * shown, 100 * promised),
                             std::abs(shown - promised));
        });
    fmt::print("\nfurthest apart {:.2f} points\n", 100 * worst);
}

void print_smallest_differences() {
    fmt::print(
        "\nsmallest difference shown with a chance of 80%, in units of the noise of one run\n\n"
        "| comparisons |");
    for (int64_t seeds = 2; seeds <= 8; ++seeds) fmt::print(" {} seeds |", seeds);
    fmt::print("\n|---|---|---|---|---|---|---|---|\n");
    for (int64_t comparisons = 1; comparisons <= 12; ++comparisons) {
        fmt::print("| {} |", comparisons);
        for (int64_t seeds = 2; seeds <= 8; ++seeds)
            fmt::print(" {:.2f} |", smallest_difference({.variants = comparisons + 1, .seeds = seeds}));
        fmt::print("\n");
    }
}

int main_of(const Run& run) {
    fmt::print("{} sweeps for each figure, seed {}\n", run.sweeps, run.seed);
    print_smallest_differences();
    print_errors(run, "equal noise", {});
    print_errors(run, "equal noise, 2 looks", {.looks = 2});
    print_errors(run, "equal noise, 3 looks", {.looks = 3});
    print_errors(run, "tuned, all rates as good", {.tuned = true});
    print_errors(run, "tuned, rates 0.1 apart", {.tuned = true, .rate_difference = 0.1});
    print_errors(run, "tuned, rates 0.5 apart", {.tuned = true, .rate_difference = 0.5});
    print_errors(run, "one variant's noise 3 times the others'", {.last_sd = 3});
    print_errors(run, "the reference's noise 3 times the others'", {.reference_sd = 3});
    print_errors(run, "heavy tails", {.heavy_tails = true});
    for (const double times : {0.5, 1.0, 2.0}) print_power(run, times);
    return 0;
}

} // namespace
} // namespace braid

int main(int argc, char** argv) {
    const int64_t sweeps = argc > 1 ? std::atoll(argv[1]) : 10000;
    const uint64_t seed = argc > 2 ? std::strtoull(argv[2], nullptr, 10) : 1;
    if (sweeps < 1) {
        fmt::print(stderr, "bench_verdicts [sweeps [seed]]: expected sweeps > 0\n");
        return 2;
    }
    return braid::main_of({sweeps, seed});
}

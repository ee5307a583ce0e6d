// The noise of real training instead of simulated: runs of one config, called variants at random, differ by
// chance.

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <random>

#include "ablation/statistics/analysis.h"
#include "ablation/sweep/run_result.h"
#include "base/rng.h"
#include "parallel/communicator.h"
#include "tests/data/token_fixture.h"
#include "tests/support/temporary_folder.h"
#include "trainer/run/run.h"

namespace braid::testing {
namespace {

constexpr int kRuns = 64, kRelabellings = 10'000;

/// Sentences of a small grammar, so that there is something to learn in a minute.
std::vector<std::string> sentences(uint64_t seed, int count) {
    const std::vector<std::string> who{"the river", "a stone", "my neighbour", "the old road"},
        does{"takes", "follows", "forgets", "outlasts"},
        what{"the bank", "its bed", "every winter", "the sea"};
    const RngStream random(seed, RngPurpose::test, "sentences");
    std::vector<std::string> texts;
    for (int i = 0; i < count; ++i) {
        const uint64_t bits = random.bits(static_cast<uint64_t>(i));
        texts.push_back(who[bits % 4] + " " + does[bits / 4 % 4] + " " + what[bits / 16 % 4] + ".");
    }
    return texts;
}

/// The last evaluation of a run of this seed.
double train(const test::TemporaryFolder& folder, int seed) {
    const std::string run = folder / fmt::format("run-{}", seed);
    TrainRequest request;
    request.config = parse_run_config(
        fmt::format(
            "name: x\nrun_dir: {0}\nseed: {1}\n"
            "model: {{vocab_size: 256, hidden_size: 24, pattern: \"(attn+mlp)*2\", sublayers: {{attn: "
            "{{type: attention, num_heads: 2, head_dim: 12, rope: {{theta: 10000}}}}, mlp: {{type: mlp, "
            "size: 48}}}}}}\n"
            "train: {{steps: 60, sequence_length: 48, global_batch: 8}}\n"
            "optimizer: {{lr: 5.0e-3, schedule: {{type: cosine, warmup_steps: 6}}}}\n"
            "data: {{train: [{{path: {2}/train.h5}}], validation: {{v: {{path: {2}/valid.h5}}}}}}\n"
            "checkpoint: {{every: 0}}\neval: {{every: 60, tokens: 4096}}\n",
            run, seed, folder / "."),
        "test");
    request.progress.write = [](std::string_view) {};
    EXPECT_EQ(run_training(request, *self_communicator()), ExitCode::ok);
    return last_metric(run, "eval/v/loss").value();
}

/// How many of kRelabellings tables of the runs have a variant that is called better or worse.
int false_families(const std::vector<double>& losses, size_t variants, size_t seeds) {
    std::vector<double> order = losses;
    std::mt19937_64 random(1);
    int found = 0;
    for (int i = 0; i < kRelabellings; ++i) {
        std::shuffle(order.begin(), order.end(), random);
        Outcomes outcomes(variants);
        for (size_t v = 0; v < variants; ++v)
            outcomes[v].assign(order.begin() + static_cast<std::ptrdiff_t>(v * seeds),
                               order.begin() + static_cast<std::ptrdiff_t>((v + 1) * seeds));
        const Analysis analysis = judge(outcomes, {.matters = 1e-9, .levels = {}, .p_values = false});
        found += std::any_of(analysis.differences.begin(), analysis.differences.end(), [](const auto& d) {
            return d && (d->verdict == Verdict::better || d->verdict == Verdict::worse);
        });
    }
    return found;
}

// Given the runs, each relabelling is as likely as any other, so that the share of false verdicts is that of
// the method on this noise. Its 99% upper bound stays under 6.5% (docs/verdicts.md).
TEST(verdicts, slow_real_runs_of_one_config_differ_by_chance) {
    const test::TemporaryFolder folder;
    test::write_texts(folder / "train.h5", sentences(1, 4000));
    test::write_texts(folder / "valid.h5", sentences(2, 200));
    std::vector<double> losses;
    for (int seed = 1; seed <= kRuns; ++seed) losses.push_back(train(folder, seed));
    const double mean = std::accumulate(losses.begin(), losses.end(), 0.0) / kRuns;
    double squares = 0;
    for (const double loss : losses) squares += (loss - mean) * (loss - mean);
    fmt::print("{} runs: loss {:.4f}, standard deviation {:.4f}\n", kRuns, mean,
               std::sqrt(squares / (kRuns - 1)));
    for (const auto& [variants, seeds] :
         std::vector<std::pair<size_t, size_t>>{{2, 3}, {2, 8}, {4, 4}, {8, 4}, {8, 8}, {13, 3}}) {
        const double share = false_families(losses, variants, seeds) / static_cast<double>(kRelabellings);
        const double bound = share + 2.326 * std::sqrt(share * (1 - share) / kRelabellings);
        fmt::print("{} variants, {} seeds: {:.2f}% (99% bound {:.2f}%)\n", variants, seeds, 100 * share,
                   100 * bound);
        EXPECT_LT(bound, 0.065) << variants << " variants, " << seeds << " seeds";
        EXPECT_GT(share, 0.01); // the method would show nothing
    }
}

} // namespace
} // namespace braid::testing

#include "trainer/training/update_norms.h"

#include <gtest/gtest.h>

#include <array>
#include <cmath>

#include "parallel/thread_comm.h"
#include "tests/data/token_fixture.h"
#include "tests/support/temporary_folder.h"
#include "trainer/training/trainer.h"

namespace braid::testing {
namespace {

using Ratios = std::map<std::pair<int, std::string>, double>;

RunConfig small_run(const std::string& tokens, const std::string& parallel, const std::string& optimizer) {
    const std::string text = R"(
model:
  vocab_size: 257
  hidden_size: 8
  pattern: "attn+moe, attn+dense"
  init: {std: 0.3}
  sublayers:
    attn: {type: attention, num_heads: 4, num_kv_heads: 2, head_dim: 4, qk_norm: per_head}
    moe: {type: moe, num_experts: 4, experts_per_token: 2, expert_size: 6, shared_size: 5,
          router: {aux_loss: 0.05, aux_scope: global}}
    dense: {type: mlp, size: 12}
train: {steps: 8, sequence_length: 16, global_batch: 4, micro_batch: 1, precision: f64}
)";
    return parse_run_config(
        fmt::format(
            "name: norms\n{}parallel: {{{}}}\noptimizer: {{type: {}, lr: 0.01, eps: 0.0001, clip: 0.5}}\n"
            "data: {{train: [{{path: {}}}]}}\n",
            text, parallel, optimizer, tokens),
        "test");
}

Ratios reported(const StepReport& report) {
    Ratios ratios;
    for (const auto& [key, statistic] : report.diagnostics)
        if (key.second == "update_ratio") ratios[{key.first.layer, key.first.sublayer}] = statistic.value();
    return ratios;
}

/// Of the second step on so many ranks.
Ratios ratios_on(int ranks, const RunConfig& run) {
    Ratios ratios;
    run_thread_ranks(ranks, [&](Communicator& world) {
        Trainer trainer(run, world, ranks);
        trainer.step(false);
        const StepReport report = trainer.step(true);
        if (world.rank() == 0) ratios = reported(report);
    });
    return ratios;
}

/// All values by layer and sublayer, in order.
std::map<std::pair<int, std::string>, std::vector<double>> values_of(Trainer& trainer) {
    std::map<std::pair<int, std::string>, std::vector<double>> values;
    for (const auto& unit : trainer.store().units())
        for (const Parameter* parameter : unit->parameters)
            for (const auto& section : parameter->sections()) {
                auto& all = values[{section.spec.layer, section.spec.sublayer}];
                const double* first = unit->values.data<double>() + section.unit_offset;
                all.insert(all.end(), first, first + section.numel());
            }
    return values;
}

class update_norms : public ::testing::Test {
  protected:
    void SetUp() override {
        test::write_texts(folder_ / "tokens.h5", {std::string(200, 'a') + std::string(300, 'b')});
    }
    RunConfig run(const std::string& parallel, const std::string& optimizer) const {
        return small_run(folder_ / "tokens.h5", parallel, optimizer);
    }

  private:
    test::TemporaryFolder folder_;
};

TEST_F(update_norms, are_those_of_the_values_before_and_after) {
    for (const char* optimizer : {"adamw", "muon"})
        run_thread_ranks(1, [&](Communicator& world) {
            Trainer trainer(run("", optimizer), world, 1);
            trainer.step(false);
            const auto before = values_of(trainer);
            const Ratios found = reported(trainer.step(true));
            const auto after = values_of(trainer);
            EXPECT_EQ(found.size(), 4u); // two layers of two sublayers
            for (const auto& [site, ratio] : found) {
                double change = 0, size = 0;
                for (size_t i = 0; i < before.at(site).size(); ++i) {
                    change += std::pow(after.at(site)[i] - before.at(site)[i], 2);
                    size += std::pow(before.at(site)[i], 2);
                }
                EXPECT_GT(change, 0);
                // Sums of at most 2000 positive terms in two orders.
                EXPECT_NEAR(ratio / std::sqrt(change / size), 1, 2000 * 0x1p-53) << site.second;
            }
        });
}

TEST_F(update_norms, are_the_same_in_every_layout) {
    for (const char* optimizer : {"adamw", "muon"}) {
        const Ratios alone = ratios_on(1, run("", optimizer));
        for (const auto& [ranks, parallel] : {std::pair{2, "zero: 1"},
                                              {2, "zero: 0"},
                                              {2, "tensor: 2"},
                                              {4, "tensor: 2, expert: 2, zero: 1"}}) {
            const Ratios found = ratios_on(ranks, run(parallel, optimizer));
            ASSERT_EQ(found.size(), alone.size());
            // As in tests/trainer/relayout_test.cpp, where two updates differ by 9e-11 of themselves at most.
            for (const auto& [site, ratio] : alone)
                EXPECT_NEAR(found.at(site) / ratio, 1, 1e-10) << site.second << ", " << parallel;
        }
    }
}

} // namespace
} // namespace braid::testing

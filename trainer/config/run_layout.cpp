#include "trainer/config/run_layout.h"

#include <fmt/format.h>

#include <algorithm>

#include "layers/feed_forward/moe_config.h"
#include "layers/specification/nearest_layouts.h"

namespace braid {
namespace {

bool uses_batch_scope(const ModelConfig& model) {
    for (const LayerConfig& layer : expand_layers(model))
        for (const ResolvedSublayer& sublayer : layer.sublayers) {
            const auto* moe = sublayer.config.kind.get_if<MoeConfig>();
            if (moe && moe->router.aux_loss > 0 && moe->router.aux_scope == AuxScope::batch) return true;
        }
    return false;
}

/// What a run asks of a layout.
class RunRules {
  public:
    explicit RunRules(const RunConfig& config)
        : train_(config.train), model_(config.model), uses_batch_scope_(uses_batch_scope(config.model)) {}

    const LayoutRules& model() const { return model_; }

    void expect_batch_fits(const RankGrid& grid) const {
        const int64_t ranks = grid.data.size, batch = train_.global_batch;
        if (ranks > batch)
            throw ConfigError(
                "train.global_batch: {} sequences cannot feed {} data ranks; use at most {} data ranks or a "
                "global_batch of at least {}",
                batch, ranks, batch, ranks);
        if (uses_batch_scope_ && (batch % ranks != 0 || batch / ranks > train_.micro_batch))
            throw ConfigError(
                "router.aux_scope: batch balances over one step's batch in one piece, so global_batch / data "
                "ranks must be whole and at most micro_batch; found {} / {} and micro_batch {}; use "
                "aux_scope: sequence or global",
                batch, ranks, train_.micro_batch);
    }
    bool batch_fits(const RankGrid& grid) const {
        try {
            expect_batch_fits(grid);
            return true;
        } catch (const ConfigError&) {
            return false;
        }
    }

  private:
    const TrainConfig& train_;
    const LayoutRules model_;
    const bool uses_batch_scope_;
};

void expect_data_ranks(const ParallelConfig& parallel, const RankGrid& grid) {
    if (parallel.data != 0 && parallel.data != grid.data.size)
        throw ConfigError(
            "parallel.data: expected what is left of the ranks, {} / tensor {} = {}, or auto, found {}",
            grid.num_ranks(), parallel.tensor, grid.data.size, parallel.data);
}

/// As keys for the command line.
std::string to_overrides(const ParallelConfig& layout, int num_ranks) {
    std::string text = fmt::format("parallel.data={}", num_ranks / asked_ranks(layout, false));
    for (const AxisRow& row : kAxes)
        if (!row.is_rest && layout.*row.key > 1)
            text += fmt::format(" parallel.{}={}", row.name, layout.*row.key);
    return text;
}

} // namespace

std::vector<std::string> layout_faults(const RunConfig& config, int num_ranks) {
    const RunRules rules(config);
    const ParallelConfig& asked = config.parallel;
    // Whether the model's sizes can be shared out does not depend on the number of ranks.
    RankGrid sizes;
    for (const AxisRow& row : kAxes)
        if (!row.is_rest) (sizes.*row.place).size = static_cast<int>(asked.*row.key);
    std::vector<std::string> faults;
    const auto note = [&](const std::function<void()>& body) {
        try {
            body();
        } catch (const ConfigError& error) {
            faults.push_back(error.what());
        }
    };
    for (const bool of_experts : {false, true}) { // one view at a time, so that both are told
        ParallelConfig view;
        for (const AxisRow& row : kAxes)
            if (!row.is_rest && row.of_experts == of_experts) view.*row.key = asked.*row.key;
        note([&] { make_grid(view, num_ranks, 0); });
    }
    const bool has_grid = faults.empty();
    for (const std::string& fault : rules.model().faults(sizes)) faults.push_back(fault);
    if (has_grid) {
        const RankGrid grid = make_grid(asked, num_ranks, 0);
        note([&] { expect_data_ranks(asked, grid); });
        note([&] { rules.expect_batch_fits(grid); });
    }
    // The search takes seconds beyond; who asks for so many ranks knows what divides them.
    constexpr int kMostSearched = 1 << 16;
    if (faults.empty() || num_ranks > kMostSearched) return faults;
    const NearestLayouts nearest = nearest_layouts(
        rules.model(), [&](const RankGrid& grid) { return rules.batch_fits(grid); }, asked, num_ranks);
    faults.back() += nearest.to_text(to_overrides);
    return faults;
}

void expect_run_fits(const RunConfig& config, int num_ranks) {
    if (const std::vector<std::string> faults = layout_faults(config, num_ranks); !faults.empty())
        throw ConfigError("{}", fmt::join(faults, "\n"));
}

} // namespace braid

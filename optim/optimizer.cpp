#include "optim/optimizer.h"

#include "optim/adamw.h"
#include "optim/muon.h"

namespace braid {

std::vector<std::vector<FlatRange>> updated_ranges(const ParameterStore& store, bool sharded) {
    std::vector<std::vector<FlatRange>> ranges;
    for (const auto& unit : store.units()) {
        ranges.emplace_back();
        if (!sharded) ranges.back().push_back({0, unit->numel});
        if (sharded)
            for (const Bucket& bucket : unit->buckets) ranges.back().push_back(store.owned_range(bucket));
    }
    return ranges;
}

int64_t num_state_elements(const OptimizerConfig& config, const ParameterStore& store) {
    const std::vector<UnitSettings> settings = resolve_groups(config, store);
    int64_t count = 0;
    for (size_t unit = 0; unit < settings.size(); ++unit) {
        size_t index = 0;
        for (const Parameter* parameter : store.units()[unit]->parameters)
            for (const Parameter::Section& section : parameter->sections())
                count += (settings[unit][index++].muon ? 1 : 2) * section.numel();
    }
    return count;
}

std::unique_ptr<Optimizer> make_optimizer(const OptimizerConfig& config, ParameterStore& store,
                                          const Mesh& mesh, Allocator& allocator, bool sharded) {
    switch (config.type) {
        case OptimizerType::adamw:
            return std::make_unique<AdamW>(config, store, allocator, sharded);
        case OptimizerType::muon:
            return std::make_unique<Muon>(config, store, mesh, allocator, sharded);
    }
    throw InternalError("unknown optimizer");
}

} // namespace braid

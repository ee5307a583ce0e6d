#include "optim/optimizer.h"

#include <algorithm>
#include <utility>

#include "optim/adamw.h"
#include "optim/muon.h"

namespace braid {

namespace {

/// The parts of a unit's ascending ranges that are not frozen.
std::vector<FlatRange> without_frozen(const ParameterStore& store, int unit, std::vector<FlatRange> ranges) {
    for (const PlacedSection& section : store.sections(unit)) {
        if (!section->spec.frozen) continue;
        const FlatRange frozen = section->flat();
        std::vector<FlatRange> rest;
        for (const FlatRange& range : ranges) {
            const FlatRange before{range.first, std::min(range.last, frozen.first)};
            const FlatRange after{std::max(range.first, frozen.last), range.last};
            if (before.first < before.last) rest.push_back(before);
            if (after.first < after.last) rest.push_back(after);
        }
        ranges = std::move(rest);
    }
    return ranges;
}

} // namespace

std::vector<std::vector<FlatRange>> updated_ranges(const ParameterStore& store, bool sharded) {
    std::vector<std::vector<FlatRange>> ranges;
    for (const auto& unit : store.units()) {
        std::vector<FlatRange> all;
        if (!sharded) all.push_back({0, unit->numel});
        if (sharded)
            for (const Bucket& bucket : unit->buckets) all.push_back(store.owned_range(bucket));
        ranges.push_back(without_frozen(store, static_cast<int>(ranges.size()), std::move(all)));
    }
    return ranges;
}

int64_t num_state_elements(const OptimizerConfig& config, const ParameterStore& store) {
    const std::vector<UnitSettings> settings = resolve_groups(config, store);
    int64_t count = 0;
    for (const PlacedSection& section : store.sections()) {
        const SectionSettings& of = settings_of(settings, section);
        count += (of.frozen ? 0 : of.matrix ? 1 : 2) * section->numel();
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

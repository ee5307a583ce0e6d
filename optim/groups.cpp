#include "optim/groups.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/glob.h"

namespace braid {
namespace {

template <typename T, typename U>
bool selects(const std::vector<T>& wanted, const U& value) {
    return wanted.empty() || std::find(wanted.begin(), wanted.end(), value) != wanted.end();
}

bool matches(const ParameterGroup& group, const ParameterSpec& spec) {
    const bool by_name =
        group.name.empty() || std::any_of(group.name.begin(), group.name.end(),
                                          [&](const auto& glob) { return matches_glob(glob, spec.name); });
    return by_name && selects(group.role, spec.role) && selects(group.sublayer, spec.sublayer) &&
           selects(group.layer, static_cast<int64_t>(spec.layer));
}

bool decays_by_default(ParameterRole role) {
    return role != ParameterRole::norm && role != ParameterRole::bias && role != ParameterRole::recurrent;
}

} // namespace

std::vector<std::string> group_faults(const OptimizerConfig& config, const ParameterStore& store) {
    std::vector<std::string> faults;
    for (size_t i = 0; i < config.groups.size(); ++i) {
        const ParameterGroup& group = config.groups[i];
        bool matches_any = false;
        std::string no_matrix; // the first that Muon cannot update
        for (const PlacedSection& section : store.sections()) {
            if (!matches(group, section->spec)) continue;
            matches_any = true;
            if (!section->spec.matrices && no_matrix.empty()) no_matrix = section->spec.name;
        }
        if (!matches_any)
            faults.push_back(
                fmt::format("optimizer.groups[{}]: matches no parameter of this model (`braid config show "
                            "--tensors` lists name, role, sublayer and layer of each)",
                            i));
        else if (group.muon.value_or(false) && !no_matrix.empty())
            faults.push_back(
                fmt::format("optimizer.groups[{}].muon: expected matrices, and {} is none (`braid "
                            "config show --tensors` lists what Muon updates)",
                            i, no_matrix));
    }
    return faults;
}

std::vector<UnitSettings> resolve_groups(const OptimizerConfig& config, const ParameterStore& store) {
    if (const std::vector<std::string> faults = group_faults(config, store); !faults.empty())
        throw ConfigError("{}", fmt::join(faults, "\n"));
    std::vector<UnitSettings> units(store.units().size());
    for (const PlacedSection& section : store.sections()) {
        const bool matrix = config.type == OptimizerType::muon && section->spec.matrices;
        SectionSettings result{1, decays_by_default(section->spec.role) ? config.weight_decay : 0, matrix};
        for (const ParameterGroup& group : config.groups) {
            if (!matches(group, section->spec)) continue;
            if (group.lr_scale) result.lr_scale = *group.lr_scale;
            if (group.weight_decay) result.weight_decay = *group.weight_decay;
            if (group.muon) result.matrix = *group.muon;
        }
        result.frozen = section->spec.frozen;
        result.matrix = result.matrix && !result.frozen;
        units[static_cast<size_t>(section.unit)].push_back(result);
    }
    return units;
}

} // namespace braid

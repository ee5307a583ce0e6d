#include "optim/groups.h"

#include <algorithm>

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

bool matches_glob(std::string_view glob, std::string_view name) {
    // The last * seen may take one more character whenever the rest does not fit: linear space, no recursion.
    size_t g = 0, n = 0, star = std::string_view::npos, star_name = 0;
    while (n < name.size()) {
        if (g < glob.size() && (glob[g] == '?' || (glob[g] == name[n] && glob[g] != '*'))) {
            ++g, ++n;
        } else if (g < glob.size() && glob[g] == '*') {
            star = g++;
            star_name = n;
        } else if (star != std::string_view::npos) {
            g = star + 1;
            n = ++star_name;
        } else {
            return false;
        }
    }
    while (g < glob.size() && glob[g] == '*') ++g;
    return g == glob.size();
}

std::vector<UnitSettings> resolve_groups(const OptimizerConfig& config, const ParameterStore& store) {
    std::vector<int64_t> num_matches(config.groups.size(), 0);
    std::vector<UnitSettings> units;
    for (const auto& unit : store.units()) {
        UnitSettings& settings = units.emplace_back();
        for (const Parameter* parameter : unit->parameters)
            for (const Parameter::Section& section : parameter->sections()) {
                const bool muon = config.type == OptimizerType::muon && section.spec.matrices;
                SectionSettings result{1, decays_by_default(section.spec.role) ? config.weight_decay : 0,
                                       muon};
                for (size_t i = 0; i < config.groups.size(); ++i) {
                    const ParameterGroup& group = config.groups[i];
                    if (!matches(group, section.spec)) continue;
                    ++num_matches[i];
                    if (group.lr_scale) result.lr_scale = *group.lr_scale;
                    if (group.weight_decay) result.weight_decay = *group.weight_decay;
                    if (group.muon) result.muon = *group.muon;
                    if (group.muon.value_or(false) && !section.spec.matrices)
                        throw ConfigError(
                            "optimizer.groups[{}].muon: expected matrices, and {} is none (`braid config "
                            "show "
                            "--tensors` lists what Muon updates)",
                            i, section.spec.name);
                }
                settings.push_back(result);
            }
    }
    for (size_t i = 0; i < num_matches.size(); ++i)
        if (num_matches[i] == 0)
            throw ConfigError(
                "optimizer.groups[{}]: matches no parameter of this model (`braid config show --tensors` "
                "lists "
                "name, role, sublayer and layer of each)",
                i);
    return units;
}

} // namespace braid

#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "optim/optimizer_config.h"
#include "tensor/parameters/parameter.h"

namespace braid {

/// The optimizer's settings for one section of a parameter (one global tensor).
struct SectionSettings {
    double lr_scale = 1;
    double weight_decay = 0;
    bool matrix = false; // updated by Muon as matrices, not by AdamW element by element
    bool frozen = false; // by neither
};

/// The settings of every section of a unit, in the order of its parameters and their sections.
using UnitSettings = std::vector<SectionSettings>;

/// Those of a section, of the settings of all units.
inline const SectionSettings& settings_of(const std::vector<UnitSettings>& units,
                                          const PlacedSection& section) {
    return units[static_cast<size_t>(section.unit)][section.index];
}

/// A line for every group that matches nothing, or that asks Muon to update what is no matrix.
std::vector<std::string> group_faults(const OptimizerConfig& config, const ParameterStore& store);

/// Applies optimizer.weight_decay and the groups to every section, by unit. Without a group, norm, bias and
/// recurrent parameters do not decay, and Muon updates what declares its matrices. Later groups win.
/// ConfigError with the faults of the groups.
std::vector<UnitSettings> resolve_groups(const OptimizerConfig& config, const ParameterStore& store);

} // namespace braid

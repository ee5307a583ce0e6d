#pragma once

#include <vector>

#include "optim/optimizer_config.h"
#include "tensor/parameter.h"

namespace braid {

/// The optimizer's settings for one section of a parameter (one global tensor).
struct SectionSettings {
    double lr_scale = 1;
    double weight_decay = 0;
    bool muon = false; // updated by Muon, not by AdamW
};

/// The settings of every section of a unit, in the order of its parameters and their sections.
using UnitSettings = std::vector<SectionSettings>;

/// Applies optimizer.weight_decay and the groups to every section, by unit. Without a group, norm, bias and
/// recurrent parameters do not decay, and Muon updates what declares its matrices. Later groups win.
/// ConfigError for a group that matches nothing, or that asks Muon to update what is no matrix.
std::vector<UnitSettings> resolve_groups(const OptimizerConfig& config, const ParameterStore& store);

/// Whether a name matches a glob of * (any text) and ? (any one character).
bool matches_glob(std::string_view glob, std::string_view name);

} // namespace braid

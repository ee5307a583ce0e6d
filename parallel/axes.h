#pragma once

#include <array>
#include <string_view>

#include "parallel/parallel_config.h"
#include "tensor/parameters/rank_grid.h"

namespace braid {

/// What is said about an axis, once: keys, texts, meshes, the search for layouts and manifests follow from
/// it.
struct AxisRow {
    Axis axis;
    std::string_view name;            // of its communicator, and of the key parallel.NAME where it has one
    bool of_experts;                  // in the experts' view of the ranks, else in that of dense parameters
    RankGrid::Place RankGrid::*place; // where a grid has it
    bool is_rest;                     // it takes what is left of the ranks in this view
    int64_t ParallelConfig::*key;     // of the run file; null: none
};

/// In each view from the axis with the farthest ranks to the one with neighbours.
inline constexpr std::array<AxisRow, 5> kAxes = {{
    {Axis::data, "data", false, &RankGrid::data, true, &ParallelConfig::data},
    {Axis::tensor, "tensor", false, &RankGrid::tensor, false, &ParallelConfig::tensor},
    {Axis::expert_data, "expert_data", true, &RankGrid::expert_data, true, nullptr},
    {Axis::expert, "expert", true, &RankGrid::expert, false, &ParallelConfig::expert},
    {Axis::expert_tensor, "expert_tensor", true, &RankGrid::expert_tensor, false,
     &ParallelConfig::expert_tensor},
}};

constexpr const AxisRow& row_of(Axis axis) {
    return kAxes[static_cast<size_t>(axis)];
}

/// Ranks that the asked sizes of a view take together.
int64_t asked_ranks(const ParallelConfig& asked, bool of_experts);

} // namespace braid

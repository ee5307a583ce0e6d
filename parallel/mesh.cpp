#include "parallel/mesh.h"

#include <string>

#include "base/error.h"

namespace braid {
namespace {

std::string divisors(int n) {
    std::string text;
    for (int d = 1; d <= n; ++d)
        if (n % d == 0) text += (text.empty() ? "" : ", ") + std::to_string(d);
    return text;
}

/// "parallel.expert x parallel.expert_tensor"
std::string asked_keys(bool of_experts) {
    std::string text;
    for (const AxisRow& row : kAxes)
        if (!row.is_rest && row.of_experts == of_experts)
            text += (text.empty() ? "parallel." : " x parallel.") + std::string(row.name);
    return text;
}

/// Gives the axes of one view their places, the last one neighbouring ranks.
void place_view(const ParallelConfig& config, bool of_experts, int num_ranks, int rank, RankGrid& grid) {
    const int64_t asked = asked_ranks(config, of_experts);
    if (asked < 1 || num_ranks % asked != 0)
        throw ConfigError(
            "{}: {} does not divide the {} ranks of this job; expected one of {}, or a number "
            "of ranks that is a multiple of {}",
            asked_keys(of_experts), asked, num_ranks, divisors(num_ranks), asked);
    int stride = 1;
    for (auto row = kAxes.rbegin(); row != kAxes.rend(); ++row) {
        if (row->of_experts != of_experts) continue;
        const int size = static_cast<int>(row->is_rest ? num_ranks / asked : config.*row->key);
        grid.*row->place = {size, rank / stride % size};
        stride *= size;
    }
}

/// Ranks of one color differ in this axis alone: the rank that each would be at the axis' beginning.
int color_of(const RankGrid& grid, const AxisRow& axis, int rank) {
    int stride = 1;
    for (auto row = kAxes.rbegin(); row->axis != axis.axis; ++row)
        if (row->of_experts == axis.of_experts) stride *= (grid.*row->place).size;
    return rank - (grid.*axis.place).index * stride;
}

} // namespace

RankGrid make_grid(const ParallelConfig& asked, int num_ranks, int rank) {
    RankGrid grid;
    for (const bool of_experts : {false, true}) place_view(asked, of_experts, num_ranks, rank, grid);
    grid.sequence = asked.sequence;
    return grid;
}

Mesh::Mesh(Communicator& world, const ParallelConfig& asked)
    : world_(world), asked_(asked), grid_(make_grid(asked, world.size(), world.rank())) {
    for (const AxisRow& row : kAxes)
        axes_[row.axis] = split((grid_.*row.place).size, color_of(grid_, row, world.rank()), row.name);
}

std::unique_ptr<Communicator> Mesh::split(int size, int color, std::string_view name) {
    return size == 1 ? self_communicator() : world_.split(color, world_.rank(), std::string(name));
}

Communicator& Mesh::group(const ReductionGroup& group) const {
    if (group.expert) return axis(Axis::expert_data);
    if (group.replicas == 1) return axis(Axis::data);
    return *replica_groups_.at(group.replicas);
}

std::vector<int> Mesh::members(const ReductionGroup& group, int rank) const {
    const auto number = [&](int of) { // of the group that a rank is in
        const RankGrid grid = grid_of(of);
        return group.expert ? grid.expert.index * grid.expert_tensor.size + grid.expert_tensor.index
                            : grid.tensor.index / group.replicas;
    };
    std::vector<int> result;
    for (int other = 0; other < world_.size(); ++other)
        if (number(other) == number(rank)) result.push_back(other);
    return result;
}

void Mesh::prepare(const ReductionGroup& group) {
    if (group.expert || group.replicas == 1) return;
    auto& made = replica_groups_[group.replicas];
    if (!made) made = split(grid_.place_in(group).size, grid_.tensor.index / group.replicas, "data_tensor");
}

} // namespace braid

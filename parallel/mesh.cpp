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

void expect_divides(const char* keys, int64_t size, int num_ranks) {
    if (size < 1 || num_ranks % size != 0)
        throw ConfigError(
            "{}: {} does not divide the {} ranks of this job; expected one of {}, or a number "
            "of ranks that is a multiple of {}",
            keys, size, num_ranks, divisors(num_ranks), size);
}

} // namespace

RankGrid make_grid(const MeshSizes& sizes, int num_ranks, int rank) {
    expect_divides("parallel.tensor", sizes.tensor, num_ranks);
    expect_divides("parallel.expert x parallel.expert_tensor", int64_t{sizes.expert} * sizes.expert_tensor,
                   num_ranks);
    const int experts = sizes.expert * sizes.expert_tensor;
    RankGrid grid;
    grid.tensor = {sizes.tensor, rank % sizes.tensor};
    grid.data = {num_ranks / sizes.tensor, rank / sizes.tensor};
    grid.expert_tensor = {sizes.expert_tensor, rank % sizes.expert_tensor};
    grid.expert = {sizes.expert, rank / sizes.expert_tensor % sizes.expert};
    grid.expert_data = {num_ranks / experts, rank / experts};
    grid.sequence = sizes.sequence;
    return grid;
}

Mesh::Mesh(Communicator& world, const MeshSizes& sizes)
    : world_(world), sizes_(sizes), grid_(make_grid(sizes, world.size(), world.rank())) {
    // Ranks of one colour differ in the axis alone.
    const auto add = [&](Axis axis, const char* name, int color) {
        axes_[axis] = split(grid_[axis].size, color, name);
    };
    const auto &expert = grid_.expert, &part = grid_.expert_tensor, &copy = grid_.expert_data;
    add(Axis::data, "data", grid_.tensor.index);
    add(Axis::tensor, "tensor", grid_.data.index);
    add(Axis::expert_data, "expert_data", expert.index * part.size + part.index);
    add(Axis::expert, "expert", copy.index * part.size + part.index);
    add(Axis::expert_tensor, "expert_tensor", copy.index * expert.size + expert.index);
}

std::unique_ptr<Communicator> Mesh::split(int size, int color, const char* name) {
    return size == 1 ? self_communicator() : world_.split(color, world_.rank(), name);
}

Communicator& Mesh::group(const ReductionGroup& group) const {
    if (group.expert) return axis(Axis::expert_data);
    if (group.replicas == 1) return axis(Axis::data);
    return *replica_groups_.at(group.replicas);
}

void Mesh::prepare(const ReductionGroup& group) {
    if (group.expert || group.replicas == 1) return;
    auto& made = replica_groups_[group.replicas];
    if (!made) made = split(grid_.place_in(group).size, grid_.tensor.index / group.replicas, "data_tensor");
}

} // namespace braid

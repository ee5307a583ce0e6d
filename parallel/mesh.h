#pragma once

#include <map>
#include <memory>
#include <vector>

#include "parallel/axes.h"
#include "parallel/communicator.h"

namespace braid {

/// The place of a rank among `num_ranks` under what is asked of the axes, in each view as kAxes orders them.
/// ConfigError with the numbers and the sizes that would do where they do not divide the ranks.
RankGrid make_grid(const ParallelConfig& asked, int num_ranks, int rank);

/// The ranks of a run as two grids (see Axis) with a communicator for every axis. Whoever holds it lends it
/// to layers through the Context.
class Mesh {
  public:
    /// Collective over `world`, which must outlive it.
    Mesh(Communicator& world, const ParallelConfig& asked);

    const RankGrid& grid() const { return grid_; }
    /// The place of another rank of the world.
    RankGrid grid_of(int rank) const { return make_grid(asked_, world_.size(), rank); }
    Communicator& world() const { return world_; }
    Communicator& axis(Axis axis) const { return *axes_.at(axis); }
    /// The ranks whose gradients of such parameters are summed, in the order of the world. Groups of several
    /// tensor replicas must have been asked for with prepare().
    Communicator& group(const ReductionGroup& group) const;
    /// The ranks of the world that are in the group with this one, ascending.
    std::vector<int> members(const ReductionGroup& group, int rank) const;
    /// Collective: makes the communicator of a reduction group. All ranks ask for the same groups in the same
    /// order.
    void prepare(const ReductionGroup& group);

  private:
    std::unique_ptr<Communicator> split(int size, int color, std::string_view name);

    Communicator& world_;
    const ParallelConfig asked_;
    const RankGrid grid_;
    std::map<Axis, std::unique_ptr<Communicator>> axes_;
    std::map<int, std::unique_ptr<Communicator>> replica_groups_; // by number of tensor replicas
};

} // namespace braid

#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>

#include "optim/groups.h"
#include "parallel/mesh.h"

namespace braid {

/// How an optimizer's update of one element depends on others.
enum class UpdateKind {
    elementwise, // on nothing else, so any rank may own any range of a unit
    matrix,      // on its whole matrix
};

/// Turns gradients into updates, unit by unit of a ParameterStore, and owns the state that takes.
class Optimizer {
  public:
    virtual ~Optimizer() = default;

    virtual UpdateKind kind() const = 0;
    /// Updates this rank's ranges of a unit. step counts from 1; lr is that of the schedule; gradients are
    /// multiplied by gradient_scale (clipping) on the way. Collective over the mesh if kind() is matrix: all
    /// ranks update the same units in the same order.
    virtual void update(int unit, int64_t step, double lr, double gradient_scale) = 0;
    /// Whether update(unit) exchanges fragments of matrices, on all ranks alike.
    virtual bool exchanges(int) const { return false; }
    /// Seconds since the last call that updates waited for other ranks.
    virtual double take_exposed_seconds() { return 0; }
    /// Calls visit(name of the state, such as "exp_avg", unit, range of the unit's flat buffers, its state),
    /// in a fixed order.
    virtual void visit_state(
        const std::function<void(const std::string&, int, const FlatRange&, const Tensor&)>& visit) const = 0;
    /// The states kept for a section of a unit (counted over its parameters' sections), on all ranks alike.
    virtual std::vector<std::string> states(int unit, size_t section) const = 0;
    /// Parameters, by global name, whose state begins after this many steps of the run, not at its start:
    /// Adam's bias corrections count from there.
    virtual void count_from(const std::map<std::string, int64_t>& first_steps) = 0;
    /// Of parameters that are updated as matrices: the most by which an element of the last update changes
    /// per change of the gradient in the Frobenius norm, by global name. For comparisons.
    virtual std::map<std::string, double> update_slopes() const { return {}; }
};

/// The ranges of each unit's flat buffers that a rank updates: all of them, or, sharded (ZeRO-1), those it
/// owns; without the parameters that are frozen.
std::vector<std::vector<FlatRange>> updated_ranges(const ParameterStore& store, bool sharded);

/// Elements of state that the config's optimizer keeps for what a rank holds, not sharded.
int64_t num_state_elements(const OptimizerConfig& config, const ParameterStore& store);

/// The optimizer that the config names, with zero state. The store must be allocated with gradients; it and
/// the mesh must outlive the optimizer.
std::unique_ptr<Optimizer> make_optimizer(const OptimizerConfig& config, ParameterStore& store,
                                          const Mesh& mesh, Allocator& allocator, bool sharded = false);

} // namespace braid

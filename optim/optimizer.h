#pragma once

#include <functional>
#include <memory>
#include <string>

#include "optim/groups.h"

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
    /// multiplied by gradient_scale (clipping) on the way.
    virtual void update(int unit, int64_t step, double lr, double gradient_scale) = 0;
    /// Calls visit(name of the state, such as "exp_avg", unit, range of the unit's flat buffers, its state),
    /// in a fixed order.
    virtual void visit_state(
        const std::function<void(const std::string&, int, const FlatRange&, const Tensor&)>& visit) const = 0;
};

/// The ranges of each unit's flat buffers that a rank updates: all of them, or, sharded (ZeRO-1), those it
/// owns.
std::vector<std::vector<FlatRange>> updated_ranges(const ParameterStore& store, bool sharded);

/// The optimizer that the config names, with zero state. The store must be allocated with gradients and
/// outlive it.
std::unique_ptr<Optimizer> make_optimizer(const OptimizerConfig& config, ParameterStore& store,
                                          Allocator& allocator, bool sharded = false);

} // namespace braid

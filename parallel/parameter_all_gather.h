#pragma once

#include <map>
#include <memory>
#include <vector>

#include "parallel/exposed_time.h"
#include "parallel/mesh.h"
#include "tensor/parameters/parameter.h"

namespace braid {

/// After each rank has updated the elements it owns of a ParameterStore unit, gives every rank that holds the
/// unit all its values again, as the gather actions of a schedule say.
class ParameterAllGather {
  public:
    ParameterAllGather(const Mesh& mesh, ParameterStore& store) : mesh_(mesh), store_(store) {}

    /// The unit's values must stay untouched until finish().
    void start(int unit);
    /// The unit's values have changed here. Nothing to do for a unit that was not started.
    void finish(int unit);
    /// Lets messages travel; called between operations.
    void poll();
    /// Time spent in start() and finish() since the last call, in seconds: communication that nothing hid.
    double take_exposed_seconds();

  private:
    const Mesh& mesh_;
    ParameterStore& store_;
    std::map<int, std::vector<std::unique_ptr<Pending>>> under_way_; // by unit
    ExposedTime exposed_time_;
};

} // namespace braid

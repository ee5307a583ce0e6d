#pragma once

#include <map>
#include <string>
#include <vector>

#include "parallel/communicator.h"
#include "trainer/checkpoint/rank_state.h"

namespace braid {

/// Whole tensors as double, row-major, by name.
using GlobalTensors = std::map<std::string, std::vector<double>>;

/// Puts the parts that all ranks own together; every rank gets every tensor. InternalError unless each
/// element comes from exactly one rank. For comparisons: it holds a whole model on every rank.
GlobalTensors gather_tensors(Communicator& world, const std::vector<StatePart>& parts);

/// Fills parts from whole tensors, which must all be there.
void scatter_tensors(const GlobalTensors& tensors, const std::vector<StatePart>& parts);

} // namespace braid

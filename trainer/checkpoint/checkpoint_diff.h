#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "trainer/checkpoint/checkpoint_reader.h"

namespace braid {

struct TensorDifference {
    std::string name;
    int64_t num_different = 0; // elements whose bits differ
    int64_t num_elements = 0;
    double max_difference = 0; // max |a - b|
    /// max |a - b| / max(max |b|, 1e-3 R), R the root mean square of b over all tensors of its group: the
    /// parameters, the buffers, or one of the optimizer's moments. 0 where only the sign of zero differs.
    double error = 0;
};

/// How the state of checkpoint `a` differs from that of `b`. Who wrote them, in which layout, when, and under
/// which config is no part of it.
struct CheckpointDifference {
    std::vector<std::string> structure;    // one line per tensor or count that is not the same in both
    std::vector<TensorDifference> tensors; // those with different bits, largest error first
    bool bitwise_equal() const { return structure.empty() && tensors.empty(); }
};

/// Reads both, verifying the hashes of every block. CheckpointError.
CheckpointDifference compare_checkpoints(const CheckpointReader& a, const CheckpointReader& b);

} // namespace braid

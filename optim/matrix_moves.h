#pragma once

#include <functional>
#include <vector>

#include "ops/update/muon.h"
#include "optim/matrix_plan.h"

namespace braid {

/// The way of a unit's matrices through an update on this rank, as MatrixPlan has it, in the form that the
/// operations of a step take: made once, on the device of the tensors.
///
/// The update of a unit knows these flat tensors: momentum, of all of this rank's ranges; matrices, of those
/// that this rank computes; and a message to, or from, all other ranks for each of the plan's lists.
struct MatrixMoves {
    using FactorsOf = std::function<ops::MuonFactors(const MatrixPlan::Matrix&)>;
    MatrixMoves(Allocator& allocator, const MatrixPlan::Unit& plan, int rank, const FactorsOf& factors_of);

    /// Matrices of one shape, side by side.
    struct Batch {
        std::vector<size_t> numbers; // in the plan
        int64_t first;               // element of `matrices`
        Shape shape;                 // [matrices, rows, columns]
        Tensor values(const Tensor& matrices) const;
    };
    /// Fragments that travel: where they lie here, and elements of the message by rank (none to oneself).
    struct Message {
        ops::Rectangles moves;
        std::vector<int64_t> sizes;
    };

    std::vector<FlatRange> ranges; // of the momentum, as the plan's
    int64_t num_momentum_elements = 0;
    std::vector<Batch> batches;
    int64_t num_matrix_elements = 0;
    Message sent, received, returned; // momentum to it; it to matrices; matrices to it
    std::vector<int64_t> applied_sizes;
    ops::MuonFragments applied;     // what comes back to values
    ops::Rectangles own_sent;       // momentum to matrices
    ops::MuonFragments own_applied; // matrices to values
};

} // namespace braid

#pragma once

#include <vector>

#include "optim/groups.h"
#include "parallel/mesh.h"

namespace braid {

/// The shape of a tensor's matrices, all alike. InternalError where its declared blocks do not divide it.
struct MatrixShape {
    int64_t rows, columns;
};
MatrixShape matrix_shape(const ParameterSpec& spec, bool split_heads);

/// Who orthogonalises which matrix, and where its fragments lie: computed once, on every rank, from the
/// declarations of the parameters and the mesh alone.
///
/// A matrix goes to one of the ranks that hold fragments of it and is there in one fragment, so that what is
/// computed does not depend on the layout. Those ranks are chosen so that the ranks' shares of a unit's work
/// are even: largest matrix first, to the least busy holder (Graham, 1969, LPT).
class MatrixPlan {
  public:
    /// One matrix of a unit.
    struct Matrix {
        size_t section; // among the sections of the unit's parameters
        int64_t rows, columns;
        int rank = 0; // that computes it
    };
    /// Elements of the unit's flat buffers that belong to one section and that a rank updates.
    struct Range {
        size_t section;
        FlatRange flat;
        ReductionGroup group;
        bool counted; // see Bucket
    };
    /// A rectangle of a matrix as it lies in a rank's range.
    struct Fragment {
        size_t range, matrix;
        int64_t first, stride;              // in the range: its first element, elements between its rows
        int64_t row, column, rows, columns; // in the matrix
        int64_t numel() const { return rows * columns; }
    };
    struct Unit {
        std::vector<Matrix> matrices;
        std::vector<Range> ranges; // of this rank
        // Fragments that travel, by the other rank (or this one) and in an order that both know.
        std::vector<std::vector<Fragment>> sent;     // this rank's, to whoever computes their matrix
        std::vector<std::vector<Fragment>> received; // of matrices that this rank computes, by sender
        std::vector<std::vector<Fragment>> returned; // their updates, by who applies them
        std::vector<std::vector<Fragment>> applied;  // this rank's fragments, by who computes their update
    };

    /// What settings put under Muon. `sharded`: a rank updates what it owns, else all that it holds.
    MatrixPlan(const ParameterStore& store, const std::vector<UnitSettings>& settings, bool split_heads,
               const Mesh& mesh, bool sharded);

    const Unit& unit(int index) const { return units_[static_cast<size_t>(index)]; }

  private:
    class Builder;
    std::vector<Unit> units_;
};

} // namespace braid

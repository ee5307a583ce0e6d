#include "optim/matrix_plan.h"

#include <algorithm>
#include <map>
#include <numeric>
#include <tuple>

#include "ops/update/newton_schulz.h"

namespace braid {
namespace {

using Matrix = MatrixPlan::Matrix;
using Range = MatrixPlan::Range;
using Fragment = MatrixPlan::Fragment;

/// How the tensor of a section is cut into matrices, which are numbered in order of tensor, rows, columns.
struct Cut {
    MatrixShape matrix;
    int64_t down, across, count; // matrices below and beside each other in one tensor, and in all

    Cut(const ParameterSpec& spec, bool split_heads) : matrix(matrix_shape(spec, split_heads)) {
        const int rank = spec.shape.rank();
        down = spec.shape[rank - 2] / matrix.rows;
        across = spec.shape[rank - 1] / matrix.columns;
        count = spec.shape.numel() / (matrix.rows * matrix.columns);
    }
};

/// Cuts a box of a section's tensor (as dimensions [tensor, row, column]) where matrices end.
void cut_box(const Cut& cut, size_t first_matrix, const Range& range, size_t range_index,
             const Parameter::Section& section, const Partition::Region& box,
             std::vector<Fragment>& fragments) {
    const bool stacked = section.spec.shape.rank() == 3;
    const auto at = [&](const std::vector<int64_t>& list, int dim, int64_t otherwise) {
        if (!stacked && dim == 0) return otherwise;
        return list[static_cast<size_t>(stacked ? dim : dim - 1)];
    };
    const Shape& local = section.partition.local();
    const int64_t width = local[local.rank() - 1], height = local[local.rank() - 2];
    const int64_t start = section.unit_offset - range.flat.first; // of the section, in the range
    for (int64_t tensor = 0; tensor < at(box.extent, 0, 1); ++tensor)
        for (int64_t i = 0, rows = 0; i < at(box.extent, 1, 1); i += rows) {
            const int64_t row = at(box.global_offset, 1, 0) + i;
            rows = std::min(at(box.extent, 1, 1) - i, cut.matrix.rows - row % cut.matrix.rows);
            for (int64_t j = 0, columns = 0; j < at(box.extent, 2, 1); j += columns) {
                const int64_t column = at(box.global_offset, 2, 0) + j;
                columns =
                    std::min(at(box.extent, 2, 1) - j, cut.matrix.columns - column % cut.matrix.columns);
                const int64_t matrix =
                    ((at(box.global_offset, 0, 0) + tensor) * cut.down + row / cut.matrix.rows) * cut.across +
                    column / cut.matrix.columns;
                const int64_t local_row =
                    (at(box.local_offset, 0, 0) + tensor) * height + at(box.local_offset, 1, 0) + i;
                fragments.push_back({range_index, first_matrix + static_cast<size_t>(matrix),
                                     start + local_row * width + at(box.local_offset, 2, 0) + j, width,
                                     row % cut.matrix.rows, column % cut.matrix.columns, rows, columns});
            }
        }
}

/// A rank's part of a unit.
struct Holding {
    std::vector<Range> ranges;
    std::vector<Fragment> fragments;
};

} // namespace

MatrixShape matrix_shape(const ParameterSpec& spec, bool split_heads) {
    const int rank = spec.shape.rank();
    check(spec.matrices && (rank == 2 || rank == 3), "{}: no matrix of shape {}", spec.name,
          to_string(spec.shape));
    const MatrixBlocks& blocks = *spec.matrices;
    const int64_t rows = spec.shape[rank - 2], columns = spec.shape[rank - 1],
                  down = blocks.row_parts * (split_heads ? blocks.row_heads : 1),
                  across = split_heads ? blocks.column_heads : 1;
    check(rows % down == 0 && columns % across == 0, "{}: {} is not {} x {} matrices", spec.name,
          to_string(spec.shape), down, across);
    return {rows / down, columns / across};
}

class MatrixPlan::Builder {
  public:
    Builder(const ParameterStore& store, const std::vector<UnitSettings>& settings, bool split_heads,
            const Mesh& mesh, bool sharded)
        : store_(store), settings_(settings), split_heads_(split_heads), mesh_(mesh), sharded_(sharded) {
        for (int rank = 0; rank < mesh.world().size(); ++rank) places_.push_back(mesh.grid_of(rank));
    }

    std::vector<Unit> build() {
        std::vector<Unit> units;
        for (size_t u = 0; u < store_.units().size(); ++u) {
            units.emplace_back();
            list_matrices(u, units.back());
        }
        choose_ranks(units);
        const auto me = static_cast<size_t>(mesh_.world().rank());
        for (size_t rank = 0; rank < places_.size(); ++rank) {
            const ParameterStore there = store_.at(places_[rank]);
            for (size_t u = 0; u < units.size(); ++u) {
                const Holding holding = hold(there, u);
                add_messages(units[u], holding, rank, me);
                if (rank == me) units[u].ranges = holding.ranges;
            }
        }
        for (size_t u = 0; u < units.size(); ++u) expect_whole(units[u], me);
        return units;
    }

  private:
    void list_matrices(size_t u, Unit& unit) const {
        for (const PlacedSection& section : store_.sections(static_cast<int>(u))) {
            if (!settings_of(settings_, section).matrix) continue;
            const Cut cut(section->spec, split_heads_);
            for (int64_t i = 0; i < cut.count; ++i)
                unit.matrices.push_back({section.index, cut.matrix.rows, cut.matrix.columns});
        }
    }

    /// What a rank, whose store this is, updates of a unit.
    Holding hold(const ParameterStore& store, size_t u) const {
        Holding holding;
        size_t first_matrix = 0;
        const ParameterStore::Unit& unit = *store.units()[u];
        for (const PlacedSection& section : store.sections(static_cast<int>(u))) {
            if (!settings_of(settings_, section).matrix) continue;
            const Cut cut(section->spec, split_heads_);
            for (const Bucket& bucket : unit.buckets) {
                const FlatRange mine = sharded_ ? store.owned_range(bucket) : bucket.flat();
                const FlatRange flat = overlap(mine, section->flat());
                if (flat.numel() == 0) continue;
                holding.ranges.push_back({section.index, flat, bucket.group, bucket.counted});
                for (const Partition::Region& box : section->partition.regions(
                         flat.first - section->unit_offset, flat.last - section->unit_offset))
                    cut_box(cut, first_matrix, holding.ranges.back(), holding.ranges.size() - 1, *section,
                            box, holding.fragments);
            }
            first_matrix += static_cast<size_t>(cut.count);
        }
        return holding;
    }

    /// Whether `rank` is who gives these elements to `computing`: their owner, or, where every rank of a
    /// group has them, the one at the computing rank's place in the group.
    bool gives(const Range& range, size_t rank, size_t computing) const {
        return range.counted && (sharded_ || places_[rank].place_in(range.group).index ==
                                                 places_[computing].place_in(range.group).index);
    }

    void choose_ranks(std::vector<Unit>& units) const {
        // By unit and matrix, the elements that each holder has.
        std::vector<std::vector<std::map<size_t, int64_t>>> holders;
        for (const Unit& unit : units) holders.emplace_back(unit.matrices.size());
        for (size_t rank = 0; rank < places_.size(); ++rank) {
            const ParameterStore there = store_.at(places_[rank]);
            for (size_t u = 0; u < units.size(); ++u) {
                const Holding holding = hold(there, u);
                for (const Fragment& fragment : holding.fragments)
                    if (holding.ranges[fragment.range].counted)
                        holders[u][fragment.matrix][rank] += fragment.numel();
            }
        }
        std::vector<double> total(places_.size()); // work over all units, to decide between equals
        for (size_t u = 0; u < units.size(); ++u) {
            std::vector<Matrix>& matrices = units[u].matrices;
            const auto work = [&](size_t m) {
                return ops::newton_schulz_flops(matrices[m].rows, matrices[m].columns, 1);
            };
            std::vector<size_t> order(matrices.size());
            std::iota(order.begin(), order.end(), size_t{0});
            std::stable_sort(order.begin(), order.end(),
                             [&](size_t a, size_t b) { return work(a) > work(b); });
            std::vector<double> busy(places_.size());
            for (const size_t m : order) {
                const auto& candidates = holders[u][m];
                check(!candidates.empty(), "{}: a matrix that no rank holds", store_.units()[u]->name);
                const auto best =
                    std::min_element(candidates.begin(), candidates.end(), [&](const auto& a, const auto& b) {
                        return std::tuple(busy[a.first], total[a.first], -a.second, a.first) <
                               std::tuple(busy[b.first], total[b.first], -b.second, b.first);
                    });
                matrices[m].rank = static_cast<int>(best->first);
                busy[best->first] += work(m);
                total[best->first] += work(m);
            }
        }
    }

    void add_messages(Unit& unit, const Holding& holding, size_t rank, size_t me) const {
        for (auto* messages : {&unit.sent, &unit.received, &unit.returned, &unit.applied})
            messages->resize(places_.size());
        for (const Fragment& fragment : holding.fragments) {
            const auto computing = static_cast<size_t>(unit.matrices[fragment.matrix].rank);
            const bool given = gives(holding.ranges[fragment.range], rank, computing);
            if (rank == me) {
                unit.applied[computing].push_back(fragment);
                if (given) unit.sent[computing].push_back(fragment);
            }
            if (computing == me) {
                unit.returned[rank].push_back(fragment);
                if (given) unit.received[rank].push_back(fragment);
            }
        }
    }

    /// Every element of a matrix comes once.
    void expect_whole(const Unit& unit, size_t me) const {
        std::vector<int64_t> received(unit.matrices.size());
        for (const std::vector<Fragment>& fragments : unit.received)
            for (const Fragment& fragment : fragments) received[fragment.matrix] += fragment.numel();
        for (size_t m = 0; m < unit.matrices.size(); ++m) {
            const Matrix& matrix = unit.matrices[m];
            const int64_t expected = matrix.rank == static_cast<int>(me) ? matrix.rows * matrix.columns : 0;
            check(received[m] == expected, "{} elements of a matrix of {} x {} come together", received[m],
                  matrix.rows, matrix.columns);
        }
    }

    const ParameterStore& store_;
    const std::vector<UnitSettings>& settings_;
    const bool split_heads_;
    const Mesh& mesh_;
    const bool sharded_;
    std::vector<RankGrid> places_;
};

MatrixPlan::MatrixPlan(const ParameterStore& store, const std::vector<UnitSettings>& settings,
                       bool split_heads, const Mesh& mesh, bool sharded)
    : units_(Builder(store, settings, split_heads, mesh, sharded).build()) {}

} // namespace braid

#pragma once

#include <functional>
#include <vector>

#include "tensor/parameters/rank_grid.h"
#include "tensor/shape.h"

namespace braid {

/// How one dimension of a parameter is shared out over the ranks of an axis.
struct Split {
    int dim = 0;
    Axis axis = Axis::tensor;
    // The indivisible parts of the dimension, such as heads; 0: every index is one. With fewer parts than
    // ranks, neighbouring ranks hold the same part (key/value heads).
    int64_t parts = 0;
    // The dimension is this many equal ranges in a row, each of them split (gate and up rows of an expert).
    int64_t ranges = 1;
    // For those who ask what can be shared out: the config key that counts the parts, where this says it, and
    // whether fewer parts than ranks will do.
    const char* key = "";
    bool repeats = false;
};

/// The part of a global tensor that one rank holds, as index arithmetic.
class Partition {
  public:
    Partition() = default;
    /// InternalError where parts and ranks do not divide.
    Partition(const Shape& global, const std::vector<Split>& splits, const RankGrid& grid);

    const Shape& global() const { return global_; }
    const Shape& local() const { return local_; }
    /// Ranks of the tensor axis that hold the same elements.
    int tensor_replicas() const { return tensor_replicas_; }
    /// The global index, in dimension 0, of the first local one.
    int64_t first_row() const { return dims_[0].first; }

    /// A box of the local tensor that is one box of the global tensor too.
    struct Region {
        std::vector<int64_t> local_offset, global_offset, extent;
    };
    /// The elements [first, last) of the packed local tensor as such boxes, in their order.
    std::vector<Region> regions(int64_t first, int64_t last) const;
    /// The whole local tensor: one box unless a dimension has several ranges.
    std::vector<Region> regions() const { return regions(0, local_.numel()); }

    /// Calls run(local index, global index, count) for runs that are contiguous in both, in local order.
    void for_each_run(const std::function<void(int64_t, int64_t, int64_t)>& run) const;

  private:
    // Dimension d holds, of each of `ranges` ranges of `range` indices, [first, first + length).
    struct Dim {
        int64_t ranges = 1, range = 0, first = 0, length = 0;
    };
    void add_regions(const std::vector<int64_t>& offset, const std::vector<int64_t>& extent,
                     std::vector<Region>& regions) const;

    Shape global_, local_;
    std::vector<Dim> dims_;
    int tensor_replicas_ = 1;
};

} // namespace braid

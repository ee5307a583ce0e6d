#include "tensor/parameters/partition.h"

#include <algorithm>

#include "base/error.h"

namespace braid {

Partition::Partition(const Shape& global, const std::vector<Split>& splits, const RankGrid& grid)
    : global_(global), tensor_replicas_(grid.tensor.size) {
    for (int d = 0; d < global.rank(); ++d) dims_.push_back({1, global[d], 0, global[d]});
    for (const Split& split : splits) {
        const auto [size, index] = grid[split.axis];
        Dim& dim = dims_.at(static_cast<size_t>(split.dim));
        check(dim.length == global[split.dim] && global[split.dim] % split.ranges == 0,
              "dimension {} of {} cannot be split", split.dim, to_string(global));
        dim = {split.ranges, global[split.dim] / split.ranges, 0, 0};
        const int64_t parts = split.parts > 0 ? split.parts : dim.range;
        const int replicas = parts < size ? static_cast<int>(size / parts) : 1;
        // Copies on other axes would be in no reduction group (see ReductionGroup).
        check(dim.range % parts == 0 && (parts >= size || (size % parts == 0 && split.axis == Axis::tensor)),
              "{} parts of {} cannot be shared out over {} ranks", parts, to_string(global), size);
        const EvenSplit even{parts, size / replicas};
        dim.first = even.first(index / replicas) * (dim.range / parts);
        dim.length = even.length(index / replicas) * (dim.range / parts);
        if (split.axis == Axis::tensor) tensor_replicas_ = replicas;
    }
    std::vector<int64_t> local;
    for (const Dim& dim : dims_) local.push_back(dim.ranges * dim.length);
    local_ = Shape(local);
}

std::vector<Partition::Region> Partition::regions(int64_t first, int64_t last) const {
    std::vector<Region> result;
    const int rank = local_.rank();
    std::vector<int64_t> stride(static_cast<size_t>(rank), 1);
    for (int d = rank - 2; d >= 0; --d)
        stride[static_cast<size_t>(d)] = stride[static_cast<size_t>(d) + 1] * local_[d + 1];
    // From any element on, the largest box that ends before `last` and starts at a multiple of its own size.
    for (int64_t at = first; at < last;) {
        int d = 0;
        while (d + 1 < rank &&
               (at % stride[static_cast<size_t>(d)] != 0 || at + stride[static_cast<size_t>(d)] > last))
            ++d;
        const int64_t step = stride[static_cast<size_t>(d)];
        std::vector<int64_t> offset, extent;
        int64_t rest = at;
        for (int i = 0; i < rank; ++i) {
            offset.push_back(rest / stride[static_cast<size_t>(i)]);
            rest %= stride[static_cast<size_t>(i)];
            extent.push_back(i < d ? 1 : local_[i]);
        }
        const int64_t row_end = offset[static_cast<size_t>(d)];
        extent[static_cast<size_t>(d)] = std::min((last - at) / step, local_[d] - row_end);
        add_regions(offset, extent, result);
        at += extent[static_cast<size_t>(d)] * step;
    }
    return result;
}

void Partition::add_regions(const std::vector<int64_t>& offset, const std::vector<int64_t>& extent,
                            std::vector<Region>& regions) const {
    // A dimension of several ranges is cut where one ends; the others map by a shift.
    std::vector<Region> parts = {{offset, offset, extent}};
    for (size_t d = 0; d < dims_.size(); ++d) {
        const Dim& dim = dims_[d];
        std::vector<Region> cut;
        for (const Region& part : parts)
            for (int64_t at = offset[d], end = offset[d] + extent[d]; at < end;) {
                const int64_t range = at / dim.length, stop = std::min(end, (range + 1) * dim.length);
                Region slice = part;
                slice.local_offset[d] = at;
                slice.global_offset[d] = range * dim.range + dim.first + at % dim.length;
                slice.extent[d] = stop - at;
                cut.push_back(slice);
                at = stop;
            }
        parts = std::move(cut);
    }
    regions.insert(regions.end(), parts.begin(), parts.end());
}

void Partition::for_each_run(const std::function<void(int64_t, int64_t, int64_t)>& run) const {
    const int rank = local_.rank();
    const int64_t width = local_[rank - 1];
    const auto globally = [&](size_t d, int64_t local) {
        const Dim& dim = dims_[d];
        return local / dim.length * dim.range + dim.first + local % dim.length;
    };
    if (local_.numel() == 0) return;
    int64_t local_start = 0, global_start = 0, length = 0; // of the run so far
    const auto extend = [&](int64_t local, int64_t global, int64_t count) {
        if (length > 0 && global == global_start + length) {
            length += count;
            return;
        }
        if (length > 0) run(local_start, global_start, length);
        local_start = local, global_start = global, length = count;
    };
    for (int64_t at = 0; at < local_.numel(); at += width) {
        int64_t rest = at / width, index = 0, stride = global_[rank - 1];
        for (int d = rank - 2; d >= 0; --d) {
            index += globally(static_cast<size_t>(d), rest % local_[d]) * stride;
            rest /= local_[d];
            stride *= global_[d];
        }
        for (int64_t i = 0; i < width;) {
            const Dim& last = dims_[static_cast<size_t>(rank) - 1];
            const int64_t count = std::min(width - i, last.length - i % last.length);
            extend(at + i, index + globally(static_cast<size_t>(rank) - 1, i), count);
            i += count;
        }
    }
    run(local_start, global_start, length);
}

} // namespace braid

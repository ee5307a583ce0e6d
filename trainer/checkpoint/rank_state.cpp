#include "trainer/checkpoint/rank_state.h"

#include <algorithm>

namespace braid {
namespace {

bool owns_buffers(const RankGrid& grid) {
    return grid.data.index == 0 && grid.tensor.index == 0;
}

} // namespace

void for_each_run(const StatePart& part, const std::function<void(int64_t, int64_t, int64_t)>& run) {
    const int rank = part.local.rank();
    if (rank == 0) return run(part.start, 0, 1);
    const int64_t width = part.box.extent.back();
    for (int64_t at = 0, count = part.box.numel(); at < count; at += width) {
        int64_t rest = at / width, index = part.offset.back(), stride = part.local[rank - 1];
        for (int d = rank - 2; d >= 0; --d) {
            const auto dim = static_cast<size_t>(d);
            index += (part.offset[dim] + rest % part.box.extent[dim]) * stride;
            rest /= part.box.extent[dim];
            stride *= part.local[d];
        }
        run(part.start + index, at, width);
    }
}

void add_parts(const ParameterStore& store, int unit, const FlatRange& range, const Tensor& storage,
               const std::string& prefix, TensorKind kind, std::vector<StatePart>& parts) {
    for (const PlacedSection& section : store.sections(unit)) {
        const FlatRange part = overlap(range, section->flat());
        if (part.numel() == 0) continue;
        const TensorInfo info{prefix + "/" + section->spec.name, kind, storage.dtype(), section->spec.shape};
        for (const Partition::Region& region :
             section->partition.regions(part.first - section->unit_offset, part.last - section->unit_offset))
            parts.push_back({info,
                             {region.global_offset, region.extent},
                             storage,
                             section->unit_offset - range.first,
                             section->partition.local(),
                             region.local_offset});
    }
}

std::vector<StatePart> parameter_parts(const ParameterStore& store, Extent extent, bool gradients) {
    std::vector<StatePart> parts;
    for (size_t u = 0; u < store.units().size(); ++u) {
        const ParameterStore::Unit& unit = *store.units()[u];
        const Tensor& numbers = gradients ? unit.gradients : unit.values;
        for (const Bucket& bucket : unit.buckets) {
            if (extent == Extent::owned && !bucket.counted) continue;
            const FlatRange range = extent == Extent::owned ? store.owned_range(bucket) : bucket.flat();
            add_parts(store, static_cast<int>(u), range, numbers.rows(range.first, range.last - range.first),
                      gradients ? "gradient" : "model", TensorKind::parameter, parts);
        }
    }
    return parts;
}

std::vector<StatePart> optimizer_parts(const ParameterStore& store, const Optimizer& optimizer,
                                       Extent extent) {
    std::vector<StatePart> parts;
    optimizer.visit_state([&](const std::string& name, int unit, const FlatRange& held, const Tensor& state) {
        const auto add = [&](int64_t first, int64_t last) {
            if (first < last)
                add_parts(store, unit, {first, last}, state.rows(first - held.first, last - first),
                          "optimizer/" + name, TensorKind::optimizer, parts);
        };
        if (extent == Extent::held) return add(held.first, held.last);
        for (const Bucket& bucket : store.units()[static_cast<size_t>(unit)]->buckets) {
            if (!bucket.counted) continue;
            const FlatRange owned = store.owned_range(bucket);
            add(std::max(held.first, owned.first), std::min(held.last, owned.last));
        }
    });
    return parts;
}

std::vector<StatePart> buffer_parts(const ParameterStore& store, Extent extent) {
    std::vector<StatePart> parts;
    if (extent == Extent::owned && !owns_buffers(store.grid())) return parts;
    for (const auto& unit : store.units())
        for (const Buffer* buffer : unit->buffers)
            parts.push_back({{"buffer/" + buffer->name, TensorKind::buffer, buffer->dtype, buffer->shape},
                             whole_box(buffer->shape),
                             buffer->value.view({buffer->value.numel()}),
                             0,
                             buffer->shape,
                             std::vector<int64_t>(static_cast<size_t>(buffer->shape.rank()), 0)});
    return parts;
}

namespace {

/// The numbers as `dtype`, in memory of `host`; the same memory where they are so already.
Tensor converted(Allocator& host, const Tensor& numbers, DType dtype) {
    if (numbers.dtype() == dtype) return numbers;
    Tensor result = Tensor::empty(host, numbers.shape(), dtype);
    dispatch_float(numbers.dtype(), [&]<typename From>() {
        dispatch_float(dtype, [&]<typename To>() {
            std::transform(numbers.data<From>(), numbers.data<From>() + numbers.numel(), result.data<To>(),
                           [](From value) { return static_cast<To>(value); });
        });
    });
    return result;
}

/// The elements of the storage from the first to the last that a part has.
FlatRange span_of(const StatePart& part) {
    FlatRange range{part.storage.numel(), 0};
    for_each_run(part, [&](int64_t at, int64_t, int64_t count) {
        range = {std::min(range.first, at), std::max(range.last, at + count)};
    });
    return {std::min(range.first, range.last), range.last};
}

} // namespace

TensorShard to_shard(Allocator& host, const StatePart& part) {
    const int64_t count = part.box.numel();
    const FlatRange range = span_of(part);
    const Tensor storage = to_device(host, part.storage.rows(range.first, range.last - range.first));
    if (storage.numel() == count) return {part.info, part.box, storage};
    Tensor packed = Tensor::empty(host, {count}, storage.dtype());
    for_each_run(part, [&](int64_t from, int64_t to, int64_t length) {
        copy(storage.rows(from - range.first, length), packed.rows(to, length));
    });
    return {part.info, part.box, packed};
}

void read_part(Allocator& host, const CheckpointReader& checkpoint, const StatePart& part) {
    const StoredTensor* stored = checkpoint.manifest().find(part.info.name);
    const Tensor found =
        Tensor::empty(host, {part.box.numel()}, stored ? stored->info.dtype : part.storage.dtype());
    checkpoint.read(part.info.name, part.box, found);
    const Tensor packed = converted(host, found, part.storage.dtype());
    change_on_host(host, part, [&](const Tensor& storage, int64_t first) {
        for_each_run(part, [&](int64_t to, int64_t from, int64_t length) {
            copy(packed.rows(from, length), storage.rows(to - first, length));
        });
    });
}

void change_on_host(Allocator& host, const StatePart& part,
                    const std::function<void(const Tensor&, int64_t first)>& change) {
    const FlatRange range = span_of(part);
    const Tensor there = part.storage.rows(range.first, range.last - range.first),
                 here = to_device(host, there);
    change(here, range.first);
    if (there.device() != here.device()) copy(here, there);
}

std::vector<TensorInfo> state_tensors(const ParameterStore& store, const Optimizer* optimizer) {
    std::vector<TensorInfo> tensors;
    for (size_t unit = 0; unit < store.units().size(); ++unit) {
        for (const PlacedSection& section : store.sections(static_cast<int>(unit))) {
            const ParameterSpec& spec = section->spec;
            tensors.push_back({"model/" + spec.name, TensorKind::parameter, store.dtype(), spec.shape});
            if (!optimizer) continue;
            for (const std::string& state : optimizer->states(section.unit, section.index))
                tensors.push_back({"optimizer/" + state + "/" + spec.name, TensorKind::optimizer,
                                   store.dtype(), spec.shape});
        }
        for (const Buffer* buffer : store.units()[unit]->buffers)
            tensors.push_back({"buffer/" + buffer->name, TensorKind::buffer, buffer->dtype, buffer->shape});
    }
    return tensors;
}

} // namespace braid

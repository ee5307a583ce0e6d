#pragma once

#include <string>
#include <vector>

#include "optim/optimizer.h"
#include "tensor/parameters/parameter.h"
#include "trainer/checkpoint/checkpoint_reader.h"
#include "trainer/checkpoint/checkpoint_writer.h"

namespace braid {

/// A box of a global tensor that lies in this rank's memory.
struct StatePart {
    TensorInfo info; // of the global tensor
    Box box;         // in the global tensor
    // The rank's part of the tensor has shape `local` and starts at element `start` of `storage`, which may
    // be before it where storage holds a later range only; the box lies at `offset` in it.
    Tensor storage;
    int64_t start = 0;
    Shape local;
    std::vector<int64_t> offset;
};

/// The parts of a unit's tensors within a range of its flat buffers, whose numbers `storage` holds; named
/// PREFIX/NAME.
void add_parts(const ParameterStore& store, int unit, const FlatRange& range, const Tensor& storage,
               const std::string& prefix, TensorKind kind, std::vector<StatePart>& parts);

enum class Extent {
    held,  // all that a rank holds: what it must load
    owned, // over all ranks, every element once: what it saves
};
/// Values of parameters, "model/NAME", or with `gradients` their gradients, "gradient/NAME".
std::vector<StatePart> parameter_parts(const ParameterStore& store, Extent extent, bool gradients = false);
/// The optimizer's state, "optimizer/STATE/NAME".
std::vector<StatePart> optimizer_parts(const ParameterStore& store, const Optimizer& optimizer,
                                       Extent extent);
/// Buffers, "buffer/NAME", which every rank holds whole; the first rank of the mesh owns them.
std::vector<StatePart> buffer_parts(const ParameterStore& store, Extent extent);

/// Calls run(index in storage, index in the packed box, count) for runs that are contiguous in both.
void for_each_run(const StatePart& part, const std::function<void(int64_t, int64_t, int64_t)>& run);

/// The part packed in memory of `host`, sharing the part's memory where that is packed there already.
TensorShard to_shard(Allocator& host, const StatePart& part);
/// Fills the part from a checkpoint, whose floating numbers may have another precision. CheckpointError.
void read_part(Allocator& host, const CheckpointReader& checkpoint, const StatePart& part);
/// Calls change(elements, first): the part's storage from its element `first` on, on the host; from and to a
/// GPU they are copied.
void change_on_host(Allocator& host, const StatePart& part,
                    const std::function<void(const Tensor&, int64_t first)>& change);

/// The global tensors that the parameters, buffers and optimizer of a store make; equal on all ranks.
std::vector<TensorInfo> state_tensors(const ParameterStore& store, const Optimizer* optimizer);

} // namespace braid

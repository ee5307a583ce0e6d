#pragma once

#include <span>
#include <vector>

#include "tensor/parameters/parameter.h"
#include "trainer/checkpoint/checkpoint_reader.h"

namespace braid {

/// A tensor of a model that one process holds whole, as those that only read a checkpoint do.
struct NamedTensor {
    TensorInfo info;
    Tensor value; // packed, of info's shape and element type
};

/// The parameters of a store as "model/NAME", one per section, and its buffers as "buffer/NAME". The values
/// share the store's memory, so loading into them fills the store.
std::vector<NamedTensor> model_state(const ParameterStore& store);

/// Fills `tensors` from a checkpoint whose tensors of these kinds must be exactly these. Everything is
/// checked before the first number is written. CheckpointError.
void load_state(const CheckpointReader& checkpoint, std::span<const NamedTensor> tensors,
                std::span<const TensorKind> kinds);

} // namespace braid

#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "tensor/parameter.h"
#include "trainer/checkpoint_reader.h"
#include "trainer/checkpoint_writer.h"

namespace braid {

/// A tensor of the training state that every rank holds whole.
struct NamedTensor {
    TensorInfo info;
    Tensor value; // packed, in host memory, of info's shape and element type
};

/// The parameters of a store as "model/NAME", one per section, and its buffers as "buffer/NAME". The values
/// share the store's memory, so loading into them fills the store.
std::vector<NamedTensor> model_state(const ParameterStore& store);

/// Which rank writes which tensor: each one rank, the bytes per rank as even as taking the largest first to
/// the least loaded rank makes them. A pure function of its arguments, so that all ranks agree.
std::vector<int> assign_writers(std::span<const NamedTensor> tensors, int num_ranks);

/// The tensors that this rank writes, whole.
std::vector<TensorPiece> pieces_of_rank(std::span<const NamedTensor> tensors, int rank, int num_ranks);

/// Fills `tensors` from a checkpoint whose tensors of these kinds must be exactly these. Everything is
/// checked before the first number is written. CheckpointError.
void load_state(const CheckpointReader& checkpoint, std::span<const NamedTensor> tensors,
                std::span<const TensorKind> kinds);

} // namespace braid

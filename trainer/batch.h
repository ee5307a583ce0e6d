#pragma once

#include "data/batch.h"
#include "ops/documents.h"
#include "tensor/tensor.h"

namespace braid {

/// A micro-batch as tensors.
struct Batch {
    Tensor tokens, labels; // i32 [T]; a label is -1 where it does not count
    DocumentsPtr documents;
};

Batch to_tensors(Allocator& allocator, const MicroBatch& batch);

} // namespace braid

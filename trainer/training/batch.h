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

/// A micro-batch of no sequence, for a rank that has none left while others work.
MicroBatch empty_micro_batch();

/// DataError naming the first token or label outside the vocabulary.
void expect_tokens_in_vocabulary(const MicroBatch& batch, int64_t vocab_size);

} // namespace braid

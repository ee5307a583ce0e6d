#include "trainer/training/batch.h"

#include "tensor/host_values.h"

namespace braid {

Batch to_tensors(Allocator& allocator, const MicroBatch& batch) {
    return {tensor_of(allocator, batch.tokens), tensor_of(allocator, batch.labels),
            std::make_shared<const Documents>(
                Documents{batch.document_offsets, batch.num_sequences, batch.first_sample})};
}

MicroBatch empty_micro_batch() {
    MicroBatch batch;
    batch.document_offsets = {0};
    return batch;
}

void expect_tokens_in_vocabulary(const MicroBatch& batch, int64_t vocab_size) {
    for (size_t t = 0; t < batch.tokens.size(); ++t)
        if (batch.tokens[t] < 0 || batch.tokens[t] >= vocab_size || batch.labels[t] < -1 ||
            batch.labels[t] >= vocab_size)
            throw DataError("token {} (next {}) at position {} of the batch is outside the vocabulary of {}",
                            batch.tokens[t], batch.labels[t], t, vocab_size);
}

} // namespace braid

#include "trainer/batch.h"

#include <algorithm>

namespace braid {

Batch to_tensors(Allocator& allocator, const MicroBatch& batch) {
    const auto copied = [&](const std::vector<int32_t>& values) {
        Tensor tensor = Tensor::empty(allocator, {static_cast<int64_t>(values.size())}, DType::i32);
        std::copy(values.begin(), values.end(), tensor.span<int32_t>().begin());
        return tensor;
    };
    return {copied(batch.tokens), copied(batch.labels),
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

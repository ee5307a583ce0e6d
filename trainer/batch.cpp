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

} // namespace braid

#include "ops/recurrence/chunk_plan.h"

#include <algorithm>

namespace braid::ops {

ChunkPlan::ChunkPlan(const Documents& documents, Borders wanted) : borders(wanted) {
    const int64_t count = documents.num_documents(), first_last = borders.initial ? count : 0;
    num_states = first_last + (borders.last ? count : 0);
    for (size_t d = 0; d + 1 < documents.offsets.size(); ++d) {
        document_chunks.push_back(num_chunks());
        const int64_t end = documents.offsets[d + 1], document = static_cast<int64_t>(d);
        const int64_t last = borders.last ? first_last + document : -1;
        int64_t state = borders.initial ? document : -1;
        for (int64_t first = documents.offsets[d]; first < end; first += kChunkLength) {
            const int64_t length = std::min(kChunkLength, end - first);
            const int64_t next = first + length < end ? num_states++ : last;
            chunks.push_back({first, length, num_square_elements, state, next});
            num_square_elements += length * length;
            state = next;
        }
    }
    document_chunks.push_back(num_chunks());
}

void ChunkPlan::upload(Allocator& allocator) {
    if (allocator.device().kind == DeviceKind::cpu) return;
    static_assert(sizeof(Chunk) == 5 * sizeof(int64_t));
    const auto* numbers = reinterpret_cast<const int64_t*>(chunks.data());
    device_chunks = braid::upload(allocator, std::span(numbers, 5 * chunks.size())).view({num_chunks(), 5});
    device_document_chunks = braid::upload(allocator, std::span<const int64_t>(document_chunks));
}

} // namespace braid::ops

#include "ops/compose/chunks.h"

#include <algorithm>

namespace braid::ops {
namespace {

DocumentsPtr chunk_runs(const Documents& documents, int64_t length) {
    auto runs = std::make_shared<Documents>();
    runs->offsets = {0};
    for (size_t d = 0; d + 1 < documents.offsets.size(); ++d) {
        const int64_t tokens = documents.offsets[d + 1] - documents.offsets[d];
        runs->offsets.push_back(runs->offsets.back() + static_cast<int32_t>((tokens + length - 1) / length));
    }
    return runs;
}

DocumentsPtr equal_documents(int64_t count, int64_t length) {
    auto documents = std::make_shared<Documents>();
    for (int64_t i = 0; i <= count; ++i) documents->offsets.push_back(static_cast<int32_t>(i * length));
    return documents;
}

std::vector<int32_t> padded_rows(const Documents& documents, int64_t heads, int64_t length, int64_t repeats) {
    std::vector<int32_t> rows;
    for (size_t d = 0; d + 1 < documents.offsets.size(); ++d)
        for (int64_t first = documents.offsets[d]; first < documents.offsets[d + 1]; first += length)
            for (int64_t head = 0; head < heads * repeats; ++head)
                for (int64_t i = first; i < first + length; ++i)
                    rows.push_back(
                        i < documents.offsets[d + 1] ? static_cast<int32_t>(i * heads + head / repeats) : -1);
    return rows;
}

/// make(i) for i < count.
template <typename Make>
std::vector<int32_t> table(int64_t count, const Make& make) {
    std::vector<int32_t> values;
    for (int64_t i = 0; i < count; ++i) values.push_back(static_cast<int32_t>(make(i)));
    return values;
}

} // namespace

PaddedChunks::PaddedChunks(Allocator& allocator, const Documents& documents, int64_t num_heads,
                           int64_t length, int64_t repeats)
    : runs_(chunk_runs(documents, length)),
      within_(equal_documents(runs_->num_tokens() * num_heads * repeats, length)),
      rows_(allocator, padded_rows(documents, num_heads, length, repeats),
            documents.num_tokens() * num_heads),
      last_rows_(allocator, table(within_->num_documents(), [&](int64_t i) { return (i + 1) * length - 1; }),
                 within_->num_tokens()),
      matrices_(allocator, table(within_->num_tokens(), [&](int64_t i) { return i / length; }),
                within_->num_documents()) {}

} // namespace braid::ops

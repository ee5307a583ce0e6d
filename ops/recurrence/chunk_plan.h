#pragma once

#include <cstdint>
#include <vector>

#include "ops/documents.h"
#include "tensor/tensor.h"

namespace braid::ops {

/// Tokens that the chunked delta rule takes together: [first_token, first_token + length) of one document.
struct Chunk {
    int64_t first_token;
    int64_t length;
    int64_t square_offset; // sum of length² over the chunks before
    int64_t state_in;      // index of the state at its start; -1 at the start of a document, where it is zero
    int64_t state_out;     // index of the state at its end; -1 at the end of a document
};

/// How documents are cut into chunks: each starts anew, and its last chunk is as long as what is left. A
/// state exists at every border between two chunks of one document.
struct ChunkPlan {
    /// Longest chunk in tokens. The work per token has a part proportional to it and a part proportional to
    /// its inverse (the states); 64 balances them for heads of 64 to 128.
    static constexpr int64_t kChunkLength = 64;

    std::vector<Chunk> chunks;
    std::vector<int64_t>
        document_chunks; // [num_documents + 1]: the first chunk of each document, then their number
    int64_t num_states = 0;
    int64_t num_square_elements = 0; // sum of length² over all chunks

    /// `chunks` (as i64 [num_chunks, 5]) and `document_chunks` in the memory of a GPU, see upload().
    Tensor device_chunks, device_document_chunks;

    explicit ChunkPlan(const Documents& documents);
    /// Copies the tables to where kernels read them, if `allocator` is a GPU's: once for forward and
    /// backward.
    void upload(Allocator& allocator);
    int64_t num_chunks() const { return static_cast<int64_t>(chunks.size()); }
    int64_t num_documents() const { return static_cast<int64_t>(document_chunks.size()) - 1; }
};

} // namespace braid::ops

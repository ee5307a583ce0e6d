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
    int64_t state_in;      // index of the state at its start; -1: zero
    int64_t state_out;     // index of the state at its end; -1: nobody reads it
};

/// How documents are cut into chunks: no chunk is of two, and the last of a document is as long as what is
/// left. A state exists at every border between two chunks of one document, and at the borders of documents
/// that are asked for: that before document d has the index d, that behind it the next free index + d.
struct ChunkPlan {
    struct Borders {
        bool initial = false, last = false; // states of all documents, at their starts and ends
    };

    /// Longest chunk in tokens. The work per token has a part proportional to it and a part proportional to
    /// its inverse (the states); 64 balances them for heads of 64 to 128.
    static constexpr int64_t kChunkLength = 64;

    std::vector<Chunk> chunks;
    std::vector<int64_t>
        document_chunks; // [num_documents + 1]: the first chunk of each document, then their number
    Borders borders;
    int64_t num_states = 0;
    int64_t num_square_elements = 0; // sum of length² over all chunks

    /// `chunks` (as i64 [num_chunks, 5]) and `document_chunks` in the memory of a GPU, see upload().
    Tensor device_chunks, device_document_chunks;

    explicit ChunkPlan(const Documents& documents) : ChunkPlan(documents, Borders()) {}
    ChunkPlan(const Documents& documents, Borders borders);
    /// Copies the tables to where kernels read them, if `allocator` is a GPU's: once for forward and
    /// backward.
    void upload(Allocator& allocator);
    int64_t num_chunks() const { return static_cast<int64_t>(chunks.size()); }
    int64_t num_documents() const { return static_cast<int64_t>(document_chunks.size()) - 1; }
    /// The part of states [num_states, ...] that is at the documents' starts or ends, where there is one.
    Tensor initial_of(const Tensor& states) const {
        return borders.initial ? states.rows(0, num_documents()) : Tensor();
    }
    Tensor last_of(const Tensor& states) const {
        return borders.last ? states.rows(borders.initial ? num_documents() : 0, num_documents()) : Tensor();
    }
};

} // namespace braid::ops

#pragma once

#include <cstdint>
#include <memory>
#include <vector>

namespace braid {

/// How the tokens of a micro-batch fall into documents and sequences. Tokens of all sequences stand in one
/// row of length T; every operation that mixes over time stops at document borders.
struct Documents {
    std::vector<int32_t>
        offsets; // [num_documents + 1], first 0, last T, not decreasing; a sequence start is always one
    int64_t num_sequences = 1; // rows of the batch, all of T / num_sequences tokens; 0 for an empty batch
    int64_t first_sample = 0;  // of training, the first sequence's place in its order; the others follow
    // Of the first token in its document, of which earlier tokens may have come before: generation goes on.
    int64_t first_position = 0;

    int64_t num_tokens() const { return offsets.back(); }
    int64_t num_documents() const { return static_cast<int64_t>(offsets.size()) - 1; }
    int64_t sequence_length() const { return num_sequences > 0 ? num_tokens() / num_sequences : 0; }

    /// One document of `tokens` tokens, or this many of it from `first_position` on.
    static std::shared_ptr<const Documents> single(int64_t tokens, int64_t first_position = 0) {
        return std::make_shared<const Documents>(
            Documents{{0, static_cast<int32_t>(tokens)}, 1, 0, first_position});
    }
};

using DocumentsPtr = std::shared_ptr<const Documents>;

} // namespace braid

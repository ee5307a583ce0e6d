#pragma once

#include <cstdint>
#include <vector>

namespace braid {

/// Sequences a rank runs at once, end to end. n = num_sequences * sequence_length.
struct MicroBatch {
    /// [n] inputs.
    std::vector<int32_t> tokens;
    /// [n] the token after each input, or -1 where that is another document's or the data end.
    std::vector<int32_t> labels;
    /// [extra_depths][n] the same for the tokens 2, 3, … places ahead (multi-token prediction).
    std::vector<std::vector<int32_t>> extra_labels;
    /// Where documents start among the n tokens: first 0, strictly increasing, last n. Each sequence starts a
    /// document.
    std::vector<int32_t> document_offsets;
    int64_t num_sequences = 0, sequence_length = 0;
    int64_t num_valid_labels = 0; // of `labels`
    int64_t first_sample = 0;     // index of the first sequence in the order of training
};

} // namespace braid

#pragma once

#include <cstdint>
#include <string>
#include <utility>

#include "data/batch.h"
#include "data/token_file.h"

namespace braid {

/// Cuts the document stream of a token file into windows of sequence_length tokens, end to end: window w
/// holds the tokens [w * S, (w + 1) * S) as inputs, and its labels reach 1 + extra_depths tokens further.
/// Documents are packed back to back; a window may cut one. Windows are independent of each other, so reading
/// them is safe from several threads.
class Windows {
  public:
    Windows(const std::string& path, int64_t sequence_length, int extra_depths);

    const TokenFile& file() const { return file_; }
    int64_t sequence_length() const { return sequence_length_; }
    /// Windows that lie whole inside the data, and those after adding a last one that may not.
    int64_t num_whole() const { return file_.num_tokens() / sequence_length_; }
    int64_t num_all() const { return (file_.num_tokens() + sequence_length_ - 1) / sequence_length_; }

    /// Appends a window to a batch, whose document_offsets start as {0} and whose extra_labels have
    /// extra_depths lists. A last window that is not whole is filled with token 0 without labels.
    void append(int64_t window, MicroBatch* batch) const;
    /// How many labels of a window are not -1, `depth` tokens ahead (1: the next token). Reads no tokens, but
    /// the loss mask where the file has one.
    int64_t num_valid_labels(int64_t window, int depth = 1) const;
    /// The bytes of text these labels (of depth 1) stand for; a document's bytes are shared evenly by its
    /// tokens.
    double num_label_bytes(int64_t window) const;

  private:
    /// Calls visit(d, begin, end) for each document d with tokens in the window, where [begin, end) are those
    /// tokens.
    template <typename Visit>
    void visit_documents(int64_t window, const Visit& visit) const;
    /// Of the tokens [begin, end), how many count as labels.
    int64_t num_counted(int64_t begin, int64_t end) const;
    int64_t document_end(size_t document) const { return file_.document_offsets()[document + 1]; }

    TokenFile file_;
    int64_t sequence_length_;
    int extra_depths_;
};

} // namespace braid

#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/atomic_file.h"
#include "base/dtype.h"
#include "base/hdf5_file.h"
#include "base/sha256.h"
#include "data/tokenizer.h"

namespace braid {

/// A token file: an HDF5 file with the datasets
///   tokens            [num_tokens] u8, u16 or i32, the smallest that holds the vocabulary; documents end to
///   end document_offsets  [num_documents + 1] i64: document d is tokens [offsets[d], offsets[d + 1])
///   document_bytes    [num_documents] i64: the bytes of text a document was made of
///   loss_mask         [num_tokens] u8, in files of version 2 only: 1 for tokens that count as labels, 0 for
///   those that are there to be read
/// and the root attributes format, format_version, num_tokens, num_documents, num_bytes, tokenizer_name,
/// tokenizer_sha256, vocab_size and fingerprint (see token_fingerprint). docs/data.md describes it for users.
inline constexpr int64_t kTokenFileVersion = 1, kMaskedTokenFileVersion = 2;

/// What identifies the content of a token file, wherever it lies.
struct TokenFileSummary {
    TokenizerIdentity tokenizer;
    DType dtype = DType::u8;
    int64_t num_tokens = 0, num_documents = 0, num_bytes = 0;
    bool has_loss_mask = false;
    std::string fingerprint; // 64 hexadecimal digits
};

/// The smallest type that holds the ids 0 .. vocab_size - 1.
DType token_dtype(int64_t vocab_size);

/// SHA-256 over the identity, the sizes, and the SHA-256 (hexadecimal) of each dataset's bytes; that of the
/// loss mask where there is one.
std::string token_fingerprint(const TokenFileSummary& summary, const std::string& tokens_sha256,
                              const std::string& offsets_sha256, const std::string& bytes_sha256,
                              const std::string& mask_sha256);

/// Writes a token file of any size in bounded memory: what comes in is spooled to unnamed files beside the
/// target, so the disk must hold it twice for a moment. The file appears whole, by finish(), or not at all.
class TokenFileWriter {
  public:
    TokenFileWriter(const std::string& path, TokenizerIdentity tokenizer,
                    Overwrite overwrite = Overwrite::no);
    ~TokenFileWriter();

    /// Adds to the current document. An id outside the vocabulary is a DataError. The file gets a loss mask
    /// once some tokens are to count as no labels.
    void add_tokens(std::span<const int32_t> tokens, bool count_as_labels = true);
    /// Ends the current document, which was made of num_bytes of text.
    void end_document(int64_t num_bytes);
    /// Puts the file together, for publish(). A file without any token is a DataError.
    TokenFileSummary write();
    /// Gives the file its name.
    void publish() { output_.publish(); }
    bool is_published() const { return output_.is_published(); }
    /// Both.
    TokenFileSummary finish();

    int64_t num_tokens() const { return summary_.num_tokens; }
    const std::string& path() const { return output_.target(); }

  private:
    class Spool;

    AtomicOutput output_;
    TokenFileSummary summary_;
    std::unique_ptr<Spool> tokens_, offsets_, bytes_, mask_; // no mask_ while all tokens count
    std::vector<uint8_t> packed_;
};

/// An open token file. Opening checks all but the values of the tokens; those are checked as they are read.
/// Every fault is a DataError naming the file. Reading is safe from several threads.
class TokenFile {
  public:
    explicit TokenFile(const std::string& path);

    const std::string& path() const { return file_.path(); }
    const TokenFileSummary& summary() const { return summary_; }
    int64_t num_tokens() const { return summary_.num_tokens; }
    int64_t num_documents() const { return summary_.num_documents; }
    /// [num_documents + 1], never decreasing, from 0 to num_tokens; documents may be empty.
    const std::vector<int64_t>& document_offsets() const { return offsets_; }
    /// [num_documents]
    const std::vector<int64_t>& document_bytes() const { return bytes_; }

    /// Reads the tokens [first, first + out.size()). An id outside the vocabulary is a DataError with its
    /// offset.
    void read(int64_t first, std::span<int32_t> out) const;
    /// Whether each of these tokens counts as a label, 1 or 0; all do where the file has no mask. Another
    /// value is a DataError with its offset.
    void read_mask(int64_t first, std::span<uint8_t> out) const;
    /// Reads every token and compares the fingerprint; a difference is a DataError.
    void verify() const;

  private:
    void check_contents();

    Hdf5File file_;
    TokenFileSummary summary_;
    int64_t tokens_position_ = 0, mask_position_ = 0; // of the first token in the file, bytes
    std::vector<int64_t> offsets_, bytes_;
};

} // namespace braid

#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "data/batch.h"
#include "data/tokenizer.h"

namespace braid {

/// How a task went. Answers are chosen by what the model finds likeliest behind the context.
struct TaskScore {
    double accuracy = 0;        // share of items whose likeliest choice is the answer
    double accuracy_stderr = 0; // of that share, over the items: sqrt(p (1 - p) / (n - 1)); NaN for one item
    double accuracy_norm = 0;   // the share with likelihoods per byte of the choice, which favour no length
    double bits_per_byte = 0;   // of the right answers: -log2 of their likelihoods over their bytes
};

/// Questions with choices, as documents to run: each choice behind its context, with labels on the choice
/// alone.
class TaskSet {
  public:
    struct Options {
        int64_t items = 0;        // the first this many; 0: all
        int64_t length = 0;       // of train.sequence_length; a longer context loses its beginning
        int64_t batch_tokens = 0; // of a batch, at most, where a document is not longer by itself
        int64_t vocab_size = 0;   // of the model
    };

    /// Reads JSON lines of read_choice_item; blank lines are skipped. DataError naming file and line where
    /// one is none, where a context or choice has no token or a choice alone is longer than Options::length,
    /// and where no item is there.
    TaskSet(const std::string& path, const Tokenizer& tokenizer, const Options& options);

    int64_t num_items() const { return static_cast<int64_t>(answers_.size()); }
    /// Items of which some context was cut.
    int64_t num_cut() const { return num_cut_; }
    int64_t num_batches() const { return static_cast<int64_t>(batches_.size()); }
    const std::string& path() const { return path_; }
    /// One row of documents.
    MicroBatch batch(int64_t number) const;
    /// The documents of all batches before this one.
    int64_t first_document(int64_t number) const { return batches_[static_cast<size_t>(number)].first; }
    int64_t num_documents() const { return static_cast<int64_t>(documents_.size()); }
    /// SHA-256 of what is run and which answers are right.
    std::string fingerprint() const;
    /// From the nats of every document's labels together. The first of equally likely choices is chosen.
    TaskScore score(std::span<const double> nats) const;

  private:
    struct Document {
        std::vector<int32_t> tokens; // context and choice
        int64_t first_label = 0;     // the place of the choice's first token
        int64_t bytes = 0;           // of the choice
    };
    struct Range {
        int64_t first = 0, last = 0; // documents
    };

    void add(std::vector<int32_t> context, std::vector<int32_t> choice, int64_t bytes, bool* is_cut);
    void form_batches();

    std::string path_;
    Options options_;
    std::vector<Document> documents_; // of all items in turn
    std::vector<int64_t> first_;      // each item's first document, and the end
    std::vector<int64_t> answers_;    // of each item, counted from 0
    std::vector<Range> batches_;
    int64_t num_cut_ = 0;
};

} // namespace braid

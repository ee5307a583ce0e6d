#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "data/batch.h"
#include "data/blend.h"
#include "data/data_config.h"
#include "data/windows.h"

namespace braid {

/// What a loader needs to know of the run.
struct LoaderOptions {
    int64_t sequence_length = 0;
    int64_t vocab_size = 0; // of the model; token files with a larger vocabulary are refused
    int extra_depths = 0;   // labels further ahead than the next token (model.mtp.depth)
};

/// What keeps the files of a run from being read, one line per file, in the order of the config: all that the
/// loaders below refuse. Empty where they open.
std::vector<std::string> data_faults(const DataConfig& config, const LoaderOptions& options);

/// So many samples of the order that are left out just before a run's sample `before`.
struct SampleGap {
    int64_t before, count;
    bool operator==(const SampleGap&) const = default;
};

/// The samples of a training run. Sample i is a pure function of (config, seed, i), whatever rank asks and in
/// whatever order, so the position of a run is the number of samples before it and resuming needs nothing
/// else:
///   Blend gives its source and its index j within the source; epoch e = j / num_windows; the window is
///   Permutation(num_windows, seed, "FINGERPRINT/e")(j mod num_windows); for the n-th further entry of the
///   same content (data order 2; order 1 gave all entries of a file the same order) "FINGERPRINT/e/n".
/// So every whole window of a source comes once per epoch, and the tokens after its last whole window never.
///
/// The constructor opens all files, and reads those of at most kVerifiedBytes whole to verify their
/// fingerprints. A file that is missing, cut or changed, shorter than one sequence, without any label, or of
/// another vocabulary is a DataError.
class TrainLoader {
  public:
    static constexpr int64_t kVerifiedBytes = int64_t{256} << 20;

    TrainLoader(const DataConfig& config, const LoaderOptions& options);

    /// The samples [first, first + count). May be called from several threads.
    MicroBatch micro_batch(int64_t first, int64_t count) const;

    /// The valid labels of the samples [first, first + count), `depth` tokens ahead. Reads no tokens,
    /// but loss masks.
    int64_t num_valid_labels(int64_t first, int64_t count, int depth = 1) const;

    /// SHA-256 of what decides the samples: the files' fingerprints and weights, seed, packing, sequence
    /// length. Two loaders of equal fingerprint give equal samples.
    std::string fingerprint() const;

    /// How the windows of sources are ordered. New runs use the newest; a run goes on with the one it began
    /// with. Before the first batch.
    static constexpr int kNewestOrder = 2;
    void set_order(int order);
    int order() const { return order_; }

    /// Makes every source begin behind these many samples, one number per source: those that the run a branch
    /// comes from took of it. Before the first batch.
    void skip(std::vector<int64_t> samples);
    /// Leaves samples out: a run's sample i is sample i of the order plus what the gaps at or before i hold.
    /// Before the first batch.
    void leave_out(std::vector<SampleGap> gaps) { gaps_ = std::move(gaps); }
    /// How many samples were taken of each source when the first `samples` samples have been, those skipped
    /// or left out before them included.
    std::vector<int64_t> taken(int64_t samples) const;

    /// Where a sample is cut from: a window of a source.
    struct Location {
        int source;
        int64_t window;
    };
    Location locate(int64_t sample) const;

    int64_t sequence_length() const { return options_.sequence_length; }
    int num_sources() const { return static_cast<int>(sources_.size()); }
    const TokenFile& source(int k) const { return sources_[static_cast<size_t>(k)]->file(); }
    /// Whole windows of source k: the samples it gives per epoch.
    int64_t num_windows(int k) const { return sources_[static_cast<size_t>(k)]->num_whole(); }
    /// How often the first num_samples samples of the run go through source k.
    double epochs(int k, int64_t num_samples) const;

  private:
    int64_t place_in_order(int64_t sample) const;
    const Windows& windows(int source) const { return *sources_[static_cast<size_t>(source)]; }

    DataConfig config_;
    LoaderOptions options_;
    std::vector<std::unique_ptr<Windows>> sources_;
    std::vector<int> occurrence_; // of each source: how many before it hold the same content
    int order_ = kNewestOrder;
    Blend blend_;
    std::vector<int64_t> skipped_; // by source
    std::vector<SampleGap> gaps_;
};

/// A validation set: the windows of a token file in order, each once. Unlike in training the tokens of the
/// last, incomplete window count too.
class ValidationLoader {
  public:
    /// At most max_tokens tokens, in whole windows but at least one; 0 means the whole file. Errors as
    /// TrainLoader's.
    ValidationLoader(const std::string& path, const LoaderOptions& options, int64_t max_tokens = 0);

    int64_t num_windows() const { return num_windows_; }
    /// The windows [first, first + count).
    MicroBatch micro_batch(int64_t first, int64_t count) const;
    int64_t num_valid_labels(int64_t first, int64_t count) const;
    /// The bytes of text the valid labels of these windows stand for. Bits per byte are the sum of their
    /// losses in nats / ln 2 / bytes.
    double num_label_bytes(int64_t first, int64_t count) const;
    const TokenFile& source() const { return windows_->file(); }

  private:
    LoaderOptions options_;
    std::unique_ptr<Windows> windows_;
    int64_t num_windows_;
};

} // namespace braid

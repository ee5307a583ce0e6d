#include "data/loader.h"

#include <algorithm>
#include <cmath>
#include <map>

#include "base/error.h"
#include "base/sha256.h"
#include "data/shuffle.h"

namespace braid {

namespace {

std::unique_ptr<Windows> open_windows(const std::string& path, const LoaderOptions& options) {
    auto windows = std::make_unique<Windows>(path, options.sequence_length, options.extra_depths);
    const TokenFile& file = windows->file();
    const TokenFileSummary& summary = file.summary();
    if (summary.tokenizer.vocab_size > options.vocab_size)
        throw DataError(
            "{}: expected token ids below model.vocab_size = {}, found the tokenizer '{}' of {} ids", path,
            options.vocab_size, summary.tokenizer.name, summary.tokenizer.vocab_size);
    if (file.num_tokens() * static_cast<int64_t>(size_of(summary.dtype)) <= TrainLoader::kVerifiedBytes)
        file.verify();
    return windows;
}

[[noreturn]] void refuse_without_labels(const TokenFile& file, int64_t num_tokens) {
    if (file.summary().has_loss_mask)
        throw DataError("{}: its loss_mask leaves no label in {} tokens, so nothing is predicted",
                        file.path(), num_tokens);
    throw DataError("{}: no document of its {} tokens has two, so nothing is predicted", file.path(),
                    num_tokens);
}

std::unique_ptr<Windows> open_source(const std::string& path, const LoaderOptions& options) {
    auto windows = open_windows(path, options);
    if (windows->num_whole() == 0)
        throw DataError(
            "{}: expected at least one sequence of train.sequence_length = {} tokens, found {} tokens", path,
            options.sequence_length, windows->file().num_tokens());
    for (int64_t window = 0; window < windows->num_whole(); ++window)
        if (windows->num_valid_labels(window) > 0) return windows;
    refuse_without_labels(windows->file(), windows->file().num_tokens());
}

/// How many sources before each one hold the same content.
std::vector<int> occurrences(const std::vector<std::unique_ptr<Windows>>& sources) {
    std::map<std::string, int> seen;
    std::vector<int> numbers;
    for (const auto& source : sources) numbers.push_back(seen[source->file().summary().fingerprint]++);
    return numbers;
}

void expect_same_tokenizer(const TokenFile& first, const TokenFile& other) {
    const TokenizerIdentity &expected = first.summary().tokenizer, &found = other.summary().tokenizer;
    if (found != expected)
        throw DataError("{}: expected the tokenizer '{}' with SHA-256 {} of {}, found '{}' with {}",
                        other.path(), expected.name, expected.sha256, first.path(), found.name, found.sha256);
}

void expect_number_of_sources(const DataConfig& config) {
    if (config.train.empty()) throw ConfigError("data.train: expected at least one token file, found none");
    if (config.train.size() > Blend::kMaxSources)
        throw ConfigError("data.train: expected at most {} token files, found {}", Blend::kMaxSources,
                          config.train.size());
}

std::vector<std::unique_ptr<Windows>> open_sources(const DataConfig& config, const LoaderOptions& options) {
    expect_number_of_sources(config);
    std::vector<std::unique_ptr<Windows>> sources;
    for (const DataSource& source : config.train) {
        sources.push_back(open_source(source.path, options));
        expect_same_tokenizer(sources.front()->file(), sources.back()->file());
    }
    return sources;
}

/// A batch without sequences yet.
MicroBatch empty_batch(int64_t count, const LoaderOptions& options) {
    check(count >= 0 && count <= INT32_MAX / options.sequence_length, "a batch of {} sequences of {} tokens",
          count, options.sequence_length);
    MicroBatch batch;
    batch.document_offsets = {0};
    batch.extra_labels.resize(static_cast<size_t>(options.extra_depths));
    batch.sequence_length = options.sequence_length;
    return batch;
}

std::vector<double> weights_of(const DataConfig& config) {
    std::vector<double> weights;
    for (const DataSource& source : config.train) {
        if (!(source.weight > 0 && std::isfinite(source.weight)))
            throw ConfigError("data.train: {}: expected a positive weight, found {}", source.path,
                              source.weight);
        weights.push_back(source.weight);
    }
    return weights;
}

} // namespace

std::vector<std::string> data_faults(const DataConfig& config, const LoaderOptions& options) {
    std::vector<std::string> faults;
    const auto note = [&](const auto& body) {
        try {
            body();
        } catch (const Error& error) {
            if (std::find(faults.begin(), faults.end(), error.what()) == faults.end())
                faults.push_back(error.what());
        }
    };
    note([&] { expect_number_of_sources(config); });
    std::unique_ptr<Windows> first; // that opens
    for (const DataSource& source : config.train)
        note([&] {
            auto windows = open_source(source.path, options);
            if (first) return expect_same_tokenizer(first->file(), windows->file());
            first = std::move(windows);
        });
    for (const auto& [name, set] : config.validation) note([&] { ValidationLoader(set.path, options); });
    return faults;
}

TrainLoader::TrainLoader(const DataConfig& config, const LoaderOptions& options)
    : config_(config),
      options_(options),
      sources_(open_sources(config, options)),
      occurrence_(occurrences(sources_)),
      blend_(weights_of(config)),
      skipped_(sources_.size(), 0) {}

int64_t TrainLoader::place_in_order(int64_t sample) const {
    int64_t place = sample;
    for (const SampleGap& gap : gaps_)
        if (gap.before <= sample) place += gap.count;
    return place;
}

TrainLoader::Location TrainLoader::locate(int64_t sample) const {
    Blend::Draw draw = blend_(place_in_order(sample));
    draw.index += skipped_[static_cast<size_t>(draw.source)];
    const Windows& source = windows(draw.source);
    const int64_t num_windows = source.num_whole(), epoch = draw.index / num_windows;
    std::string key = fmt::format("{}/{}", source.file().summary().fingerprint, epoch);
    // The first entry of a file keeps the key of order 1, so that only runs that name a file twice differ.
    if (const int occurrence = occurrence_[static_cast<size_t>(draw.source)]; occurrence > 0 && order_ >= 2)
        key += fmt::format("/{}", occurrence);
    const Permutation order(num_windows, config_.seed, key);
    return {draw.source, order(draw.index % num_windows)};
}

void TrainLoader::set_order(int order) {
    check(order >= 1 && order <= kNewestOrder, "data order {}", order);
    order_ = order;
}

void TrainLoader::skip(std::vector<int64_t> samples) {
    check(samples.size() == sources_.size(), "{} sources to skip samples of, found {}", sources_.size(),
          samples.size());
    skipped_ = std::move(samples);
}

std::vector<int64_t> TrainLoader::taken(int64_t samples) const {
    std::vector<int64_t> counts = blend_.counts(samples > 0 ? place_in_order(samples - 1) + 1 : 0);
    for (size_t k = 0; k < counts.size(); ++k) counts[k] += skipped_[k];
    return counts;
}

MicroBatch TrainLoader::micro_batch(int64_t first, int64_t count) const {
    MicroBatch batch = empty_batch(count, options_);
    batch.first_sample = first;
    for (int64_t sample = first; sample < first + count; ++sample) {
        const Location at = locate(sample);
        windows(at.source).append(at.window, &batch);
    }
    return batch;
}

int64_t TrainLoader::num_valid_labels(int64_t first, int64_t count, int depth) const {
    int64_t labels = 0;
    for (int64_t sample = first; sample < first + count; ++sample) {
        const Location at = locate(sample);
        labels += windows(at.source).num_valid_labels(at.window, depth);
    }
    return labels;
}

std::string TrainLoader::fingerprint() const {
    // Orders of equal samples have equal fingerprints.
    const bool repeats =
        std::any_of(occurrence_.begin(), occurrence_.end(), [](int number) { return number > 0; });
    std::string text = fmt::format("braid samples {}\n{} {} {} documents\n", repeats ? order_ : 1,
                                   config_.seed, options_.sequence_length, options_.extra_depths);
    for (size_t k = 0; k < sources_.size(); ++k)
        text +=
            fmt::format("{} {:.17g}\n", sources_[k]->file().summary().fingerprint, config_.train[k].weight);
    return sha256_hex(text);
}

double TrainLoader::epochs(int k, int64_t num_samples) const {
    double total = 0;
    for (const DataSource& source : config_.train) total += source.weight;
    return static_cast<double>(num_samples) * config_.train[static_cast<size_t>(k)].weight / total /
           static_cast<double>(num_windows(k));
}

ValidationLoader::ValidationLoader(const std::string& path, const LoaderOptions& options, int64_t max_tokens)
    : options_(options), windows_(open_windows(path, options)), num_windows_(windows_->num_all()) {
    check(max_tokens >= 0, "a validation set of {} tokens", max_tokens);
    if (max_tokens > 0)
        num_windows_ = std::min(num_windows_, std::max<int64_t>(1, max_tokens / options.sequence_length));
    if (num_valid_labels(0, num_windows_) == 0)
        refuse_without_labels(source(),
                              std::min(num_windows_ * options.sequence_length, source().num_tokens()));
}

MicroBatch ValidationLoader::micro_batch(int64_t first, int64_t count) const {
    check(first >= 0 && count >= 0 && first + count <= num_windows_, "validation windows [{}, {}) of {}",
          first, first + count, num_windows_);
    MicroBatch batch = empty_batch(count, options_);
    for (int64_t window = first; window < first + count; ++window) windows_->append(window, &batch);
    return batch;
}

int64_t ValidationLoader::num_valid_labels(int64_t first, int64_t count) const {
    int64_t labels = 0;
    for (int64_t window = first; window < first + count; ++window)
        labels += windows_->num_valid_labels(window);
    return labels;
}

double ValidationLoader::num_label_bytes(int64_t first, int64_t count) const {
    double bytes = 0;
    for (int64_t window = first; window < first + count; ++window) bytes += windows_->num_label_bytes(window);
    return bytes;
}

} // namespace braid

#include "data/task_set.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>

#include "base/error.h"
#include "base/sha256.h"
#include "data/byte_stream.h"
#include "data/json_choices.h"

namespace braid {
namespace {

constexpr int64_t kMaxLineBytes = int64_t{64} << 20;

/// The place of the smallest; the first of equals.
size_t least(std::span<const double> values) {
    return static_cast<size_t>(std::min_element(values.begin(), values.end()) - values.begin());
}

} // namespace

TaskSet::TaskSet(const std::string& path, const Tokenizer& tokenizer, const Options& options)
    : path_(path), options_(options) {
    if (tokenizer.identity().vocab_size > options.vocab_size)
        throw DataError("{}: expected token ids below model.vocab_size = {}, found the tokenizer '{}' of {}",
                        path, options.vocab_size, tokenizer.identity().name, tokenizer.identity().vocab_size);
    LineReader lines(path, kMaxLineBytes);
    std::string line;
    while ((options.items == 0 || num_items() < options.items) && lines.next(&line)) {
        if (line.find_first_not_of(" \t\r\n") == std::string::npos) continue;
        const auto refuse = [&](const std::string& problem) {
            throw DataError("{}: line {}: {}", path, lines.line_number(), problem);
        };
        const ChoiceItem item = read_choice_item(line);
        if (!item.problem.empty()) refuse(item.problem);
        std::vector<int32_t> context = encode(tokenizer, item.context);
        if (context.empty()) refuse("'context': expected at least one token, found an empty text");
        first_.push_back(num_documents());
        answers_.push_back(item.answer);
        // What no choice could leave, cut once.
        const int64_t surplus = static_cast<int64_t>(context.size()) - options.length;
        bool is_cut = surplus > 0;
        if (is_cut) context.erase(context.begin(), context.begin() + surplus);
        for (const std::string& text : item.choices) {
            std::vector<int32_t> choice = encode(tokenizer, text);
            const auto length = static_cast<int64_t>(choice.size());
            if (length == 0) refuse("'choices': expected at least one token each, found an empty text");
            if (length > options.length)
                refuse(fmt::format("'choices': expected at most train.sequence_length = {} tokens, found {}",
                                   options.length, length));
            add(context, std::move(choice), static_cast<int64_t>(text.size()), &is_cut);
        }
        num_cut_ += is_cut;
    }
    if (answers_.empty()) throw DataError("{}: expected at least one item, found none", path);
    first_.push_back(num_documents());
    form_batches();
}

void TaskSet::add(std::vector<int32_t> context, std::vector<int32_t> choice, int64_t bytes, bool* is_cut) {
    // The last token of a choice is a label and no input.
    const auto length = static_cast<int64_t>(context.size() + choice.size()) - 1;
    if (const int64_t cut = length - options_.length; cut > 0) {
        context.erase(context.begin(), context.begin() + cut);
        *is_cut = true;
    }
    Document document{std::move(context), 0, bytes};
    document.first_label = static_cast<int64_t>(document.tokens.size());
    document.tokens.insert(document.tokens.end(), choice.begin(), choice.end());
    documents_.push_back(std::move(document));
}

void TaskSet::form_batches() {
    int64_t tokens = 0;
    for (int64_t d = 0; d < num_documents(); ++d) {
        const auto length = static_cast<int64_t>(documents_[static_cast<size_t>(d)].tokens.size()) - 1;
        if (batches_.empty() || tokens + length > options_.batch_tokens) {
            batches_.push_back({d, d});
            tokens = 0;
        }
        tokens += length;
        batches_.back().last = d + 1;
    }
}

MicroBatch TaskSet::batch(int64_t number) const {
    const Range range = batches_.at(static_cast<size_t>(number));
    MicroBatch batch;
    batch.document_offsets = {0};
    batch.num_sequences = 1;
    for (int64_t d = range.first; d < range.last; ++d) {
        const Document& document = documents_[static_cast<size_t>(d)];
        const auto length = static_cast<int64_t>(document.tokens.size()) - 1;
        for (int64_t t = 0; t < length; ++t) {
            batch.tokens.push_back(document.tokens[static_cast<size_t>(t)]);
            const bool counts = t + 1 >= document.first_label;
            batch.labels.push_back(counts ? document.tokens[static_cast<size_t>(t) + 1] : -1);
            batch.num_valid_labels += counts;
        }
        batch.document_offsets.push_back(static_cast<int32_t>(batch.tokens.size()));
    }
    batch.sequence_length = static_cast<int64_t>(batch.tokens.size());
    return batch;
}

std::string TaskSet::fingerprint() const {
    std::string text = fmt::format("{} {}", options_.batch_tokens, fmt::join(answers_, ","));
    for (const Document& document : documents_)
        text += fmt::format("\n{} {}", document.first_label, fmt::join(document.tokens, " "));
    return sha256_hex(text);
}

TaskScore TaskSet::score(std::span<const double> nats) const {
    check(static_cast<int64_t>(nats.size()) == num_documents(), "{} scores of {} documents", nats.size(),
          num_documents());
    int64_t right = 0, right_by_byte = 0;
    double answer_nats = 0, answer_bytes = 0;
    for (size_t i = 0; i < answers_.size(); ++i) {
        const auto first = static_cast<size_t>(first_[i]), count = static_cast<size_t>(first_[i + 1]) - first;
        const auto answer = static_cast<size_t>(answers_[i]);
        const std::span<const double> mine = nats.subspan(first, count);
        std::vector<double> by_byte(mine.begin(), mine.end());
        for (size_t c = 0; c < count; ++c) by_byte[c] /= static_cast<double>(documents_[first + c].bytes);
        right += least(mine) == answer;
        right_by_byte += least(by_byte) == answer;
        answer_nats += mine[answer];
        answer_bytes += static_cast<double>(documents_[first + answer].bytes);
    }
    const auto n = static_cast<double>(num_items());
    const double p = static_cast<double>(right) / n;
    return {.accuracy = p,
            .accuracy_stderr =
                n > 1 ? std::sqrt(p * (1 - p) / (n - 1)) : std::numeric_limits<double>::quiet_NaN(),
            .accuracy_norm = static_cast<double>(right_by_byte) / n,
            .bits_per_byte = answer_nats / std::numbers::ln2 / answer_bytes};
}

} // namespace braid

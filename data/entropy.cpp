#include "data/entropy.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "base/error.h"

namespace braid {

namespace {

constexpr size_t kVocab = 256;

/// Calls visit(byte, position in its document, byte before it, byte before that) for every byte of a file.
template <typename Visit>
void visit_bytes(const TokenFile& file, const Visit& visit) {
    constexpr int64_t kBlock = 1 << 20;
    const std::vector<int64_t>& offsets = file.document_offsets();
    std::vector<int32_t> block;
    size_t document = 0;
    size_t before = 0, before_that = 0;
    for (int64_t first = 0; first < file.num_tokens(); first += kBlock) {
        block.resize(static_cast<size_t>(std::min(kBlock, file.num_tokens() - first)));
        file.read(first, block);
        for (size_t i = 0; i < block.size(); ++i) {
            const int64_t at = first + static_cast<int64_t>(i);
            while (offsets[document + 1] <= at) ++document;
            const auto byte = static_cast<size_t>(block[i]);
            visit(byte, at - offsets[document], before, before_that);
            before_that = before;
            before = byte;
        }
    }
}

/// Counts of what followed each context of 0, 1 and 2 bytes.
struct Counts {
    // uint32_t: 64 MiB for the trigrams; a count that would overflow stops at the largest value.
    std::vector<uint32_t> unigram = std::vector<uint32_t>(kVocab),
                          bigram = std::vector<uint32_t>(kVocab * kVocab),
                          trigram = std::vector<uint32_t>(kVocab * kVocab * kVocab);

    explicit Counts(const TokenFile& file) {
        const auto count = [](uint32_t& cell) { cell += cell != UINT32_MAX; };
        visit_bytes(file, [&](size_t byte, int64_t position, size_t before, size_t before_that) {
            count(unigram[byte]);
            if (position >= 1) count(bigram[before * kVocab + byte]);
            if (position >= 2) count(trigram[(before_that * kVocab + before) * kVocab + byte]);
        });
    }
};

/// One level of the interpolation: the counts of one context and what they sum to.
struct Level {
    const uint32_t* counts;
    double total = 0, distinct = 0;

    explicit Level(const uint32_t* first) : counts(first) {
        for (size_t w = 0; w < kVocab; ++w) {
            total += first[w];
            distinct += first[w] != 0;
        }
    }
    double probability(size_t byte, double shorter) const {
        return total == 0 ? shorter : (counts[byte] + distinct * shorter) / (total + distinct);
    }
};

std::vector<Level> make_levels(const std::vector<uint32_t>& counts) {
    std::vector<Level> levels;
    for (size_t context = 0; context < counts.size() / kVocab; ++context)
        levels.emplace_back(&counts[context * kVocab]);
    return levels;
}

void expect_bytes(const TokenFile& file) {
    if (file.summary().tokenizer != make_tokenizer("bytes")->identity())
        throw DataError("{}: the entropy of n-grams needs the tokenizer 'bytes', found '{}' of {} ids",
                        file.path(), file.summary().tokenizer.name, file.summary().tokenizer.vocab_size);
}

} // namespace

NgramEntropy ngram_entropy(const TokenFile& fitted, const TokenFile& measured) {
    expect_bytes(fitted);
    expect_bytes(measured);
    const Counts counts(fitted);
    const Level unigram(counts.unigram.data());
    const std::vector<Level> bigram = make_levels(counts.bigram), trigram = make_levels(counts.trigram);
    NgramEntropy sum;
    visit_bytes(measured, [&](size_t byte, int64_t position, size_t before, size_t before_that) {
        if (position == 0) return;
        const double p1 = unigram.probability(byte, 1.0 / kVocab);
        const double p2 = bigram[before].probability(byte, p1);
        const double p3 = position == 1 ? p2 : trigram[before_that * kVocab + before].probability(byte, p2);
        sum.unigram -= std::log(p1);
        sum.bigram -= std::log(p2);
        sum.trigram -= std::log(p3);
        ++sum.num_predicted;
    });
    if (sum.num_predicted == 0)
        throw DataError("{}: no document has two bytes, so nothing is predicted", measured.path());
    const auto n = static_cast<double>(sum.num_predicted);
    return {sum.unigram / n, sum.bigram / n, sum.trigram / n, sum.num_predicted};
}

} // namespace braid

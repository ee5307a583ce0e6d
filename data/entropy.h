#pragma once

#include <cstdint>

#include "data/token_file.h"

namespace braid {

/// Cross-entropies of n-gram models in nats per byte.
struct NgramEntropy {
    double unigram = 0, bigram = 0, trigram = 0;
    int64_t num_predicted = 0; // bytes measured
};

/// The cross-entropy on `measured` of interpolated Witten-Bell models (Witten & Bell 1991; Chen & Goodman
/// 1998, 2.6) fitted on `fitted`, both files of bytes: with c(h) the number of times context h was followed
/// by a byte, T(h) the number of distinct bytes that followed it, and h' the context without its oldest byte,
///   p(w | h) = (c(h w) + T(h) p(w | h')) / (c(h) + T(h)),   below the unigram: 1/256.
/// Contexts do not reach over the start of a document. Measured is what a model is trained to predict: every
/// byte but the first of each document; the second has a context of one byte. Other vocabularies are a
/// DataError, as is a `measured` without any byte to predict.
NgramEntropy ngram_entropy(const TokenFile& fitted, const TokenFile& measured);

} // namespace braid

#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/awaited.h"
#include "data/tokenizer.h"
#include "layers/model/model.h"
#include "parallel/mesh.h"

namespace braid {

struct ContinuationOptions {
    int64_t tokens = 64;      // of each continuation
    double temperature = 0.8; // 0: the likeliest token
    uint64_t seed = 0;
};

/// Continues texts with a model that is trained, in any layout, and changes nothing of it. All prompts are
/// documents of one row, which runs again for each token: a model in training keeps no keys and states, and
/// its ranks all take part. Tokens are drawn by Gumbel's maximum (the likeliest after noise of -log(-log u)
/// has the distribution of softmax), so that ranks which hold parts of the vocabulary only compare their
/// best. Draws follow from seed, prompt and place. Every rank gets its own data rank's texts, equal but for
/// rounding. Ids without a text are never drawn. Where `stop_requested` of any rank is true between two
/// tokens, all ranks throw an AgreedError with ExitCode::stopped.
std::vector<std::string> continue_texts(const Model& model, Allocator& allocator, const Mesh& mesh,
                                        const Tokenizer& tokenizer, const std::vector<std::string>& prompts,
                                        const ContinuationOptions& options,
                                        const StopRequested& stop_requested = {});

} // namespace braid

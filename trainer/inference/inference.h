#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "data/tokenizer.h"
#include "layers/model/model.h"
#include "layers/sublayer/decode_state.h"
#include "trainer/checkpoint/checkpoint_reader.h"
#include "trainer/config/run_config.h"

namespace braid {

/// A model with the weights of a checkpoint, without gradients or optimizer.
class InferenceModel {
  public:
    /// Loads a checkpoint folder, or the newest of a run folder, to run in `compute`. CheckpointError where
    /// it is refused.
    explicit InferenceModel(const std::string& path, const Stream& compute = Stream());

    const RunConfig& config() const { return config_; }
    const Model& model() const { return *model_; }
    const Tokenizer& tokenizer() const { return *tokenizer_; }
    Allocator& allocator() { return allocator_; }
    /// The checkpoint's step.
    int64_t step() const { return step_; }

    /// Logits [n, V] after each of these tokens, of one document that starts with them; on its device.
    Tensor logits(std::span<const int32_t> tokens);

  private:
    RunConfig config_;
    Allocator allocator_;
    ParameterStore store_;
    std::unique_ptr<Model> model_;
    std::unique_ptr<Tokenizer> tokenizer_;
    int64_t step_ = 0;
};

struct SamplingOptions {
    int64_t max_tokens = 200;
    double temperature = 1; // 0: always the likeliest token
    double top_p = 1; // sample from the smallest set of likeliest tokens that holds this much probability
    uint64_t seed = 0;
    uint64_t sample = 0;               // which of the texts of a seed, from 0
    std::optional<int32_t> stop_token; // ends the text, and is no part of it
};

/// Continues a prompt of at least one token, handing each new token to `sink` as it comes. Mixers keep their
/// keys, values and recurrent states, so a token costs the same however long the text (attention layers
/// apart). The same seed and sample give the same text. Only ids that the tokenizer has are drawn. Returns
/// how many tokens were drawn, the stop token included.
int64_t generate(InferenceModel& model, std::span<const int32_t> prompt, const SamplingOptions& options,
                 const std::function<void(int32_t)>& sink);

/// One draw from softmax(logits / temperature) cut at top_p; `uniform` is in (0, 1). Ties go to the lower
/// token.
int32_t sample_token(std::span<const double> logits, const SamplingOptions& options, double uniform);

} // namespace braid

#pragma once

#include <string>

namespace braid::testing {

/// The run file that the sweeps of these tests change.
inline const std::string kBase = R"(name: base
seed: 40
model:
  vocab_size: 64
  hidden_size: 32
  pattern: "(attn+mlp)*2"
  sublayers:
    attn: {type: attention, num_heads: 4, head_dim: 8}
    mlp: {type: mlp, size: 64}
train: {steps: 10, sequence_length: 16, global_batch: 4}
optimizer: {lr: 1.0e-3, schedule: {type: constant}}
data: {train: [{path: train.h5}], validation: {web: {path: valid.h5}}}
eval: {every: 5}
)";

} // namespace braid::testing

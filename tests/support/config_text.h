#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "base/error.h"

namespace braid::testing {

/// The message of the ConfigError that `body` throws; "" and a failed test if it throws none.
template <typename Body>
std::string config_error(Body&& body) {
    try {
        body();
    } catch (const ConfigError& error) {
        return error.what();
    }
    ADD_FAILURE() << "no ConfigError was thrown";
    return "";
}

/// A small hybrid run that uses every section; line numbers in the tests count from its first line.
inline const std::string kHybridRun = R"(name: hybrid
seed: 7
model:
  vocab_size: 64
  hidden_size: 32
  num_layers: 4
  pattern: "(gdn+moe)*3, attn+moe"
  sublayers:
    gdn: {type: gated_delta_net, num_key_heads: 2, num_value_heads: 4, key_head_dim: 8, value_head_dim: 8}
    attn:
      type: attention
      num_heads: 4
      num_kv_heads: 2
      head_dim: 8
      rope: {theta: 500, fraction: 0.5}
    moe:
      type: moe
      num_experts: 8
      experts_per_token: 2
      expert_size: 16
      shared_size: 16
      shared_gate: true
      router: {aux_loss: 1.0e-3, aux_scope: sequence}
train: {steps: 100, sequence_length: 64, global_batch: 8, micro_batch: 2}
optimizer:
  lr: 3.0e-3
  schedule: {type: cosine, warmup_steps: 5, min_lr: 3.0e-4}
data:
  train: [{path: train.h5}]
  validation: {web: {path: valid.h5}}
)";

} // namespace braid::testing

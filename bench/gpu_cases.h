#pragma once

#include <vector>

#include "bench/gpu_case.h"

namespace braid::bench {

// The cases of each group, in shapes of published models, or with `small` in shapes that take an emulated GPU
// a second or so. T tokens, D hidden size, in bf16 unless said otherwise: b = 2 bytes an element.

/// Attention, in training and a token at a time, and what stands around mixers: causal convolution, rotary
/// embedding, norms.
std::vector<GpuCase> sequence_cases(bool small);
/// The gated delta rule and the other linear recurrences, in training and a token at a time; decays.
std::vector<GpuCase> recurrence_cases(bool small);
/// The mixture of experts, step by step and whole.
std::vector<GpuCase> expert_cases(bool small);
/// Linear layers, embedding, head and loss, elementwise operations.
std::vector<GpuCase> dense_cases(bool small);
/// Updates of parameters.
std::vector<GpuCase> optimizer_cases(bool small);
/// A training step of a hybrid mixture of experts.
std::vector<GpuCase> step_cases(bool small);

} // namespace braid::bench

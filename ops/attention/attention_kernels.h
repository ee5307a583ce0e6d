#pragma once

#include <vector>

#include "ops/on_device.h"
#include "tensor/tensor.h"

namespace braid::ops {

/// One causal problem: the last num_queries of num_keys tokens ask. Rows of q from query_begin, rows of k and
/// v from key_begin.
struct AttentionSpan {
    int64_t query_begin, num_queries, key_begin, num_keys;
};

/// What all spans of a call share.
struct AttentionProblem {
    std::vector<AttentionSpan> spans;
    double scale;
    int64_t window; // 0: none

    // Spans as a GPU's kernels read them, i64 [spans, 6]: the four numbers of each, and how many blocks of
    // kSpanBlock queries, and of keys, the spans before it take. Undefined on the CPU.
    static constexpr int64_t kSpanBlock = 64;
    Tensor span_table = {};
    int64_t num_query_blocks = 0, num_key_blocks = 0; // of all spans

    /// Fills the table where `allocator` is a GPU's.
    void upload(Allocator& allocator);
};

} // namespace braid::ops

namespace braid::ops::cpu {

/// o [T, Hq, dv] from q [T, Hq, d], k [S, Hkv, d], v [S, Hkv, dv] (rows may be strided), and, for backward,
/// the softmax's row_max [T, Hq] and row_sum [T, Hq], the sum of exp(logit - row_max). Kept apart rather than
/// as max + log(sum), which would lose bits where logits are large. These two are f32 where the others are
/// bf16.
void attention_forward(Allocator& allocator, const AttentionProblem& problem, const Tensor& q,
                       const Tensor& k, const Tensor& v, const Tensor& o, const Tensor& row_max,
                       const Tensor& row_sum);
/// dq, dk and dv (packed, contents undefined on entry) from d_o, shaped as o.
void attention_backward(Allocator& allocator, const AttentionProblem& problem, const Tensor& q,
                        const Tensor& k, const Tensor& v, const Tensor& o, const Tensor& row_max,
                        const Tensor& row_sum, const Tensor& d_o, const Tensor& dq, const Tensor& dk,
                        const Tensor& dv);
/// max_logit [Hq] and mean_entropy [Hq] (over tokens), both f64.
void attention_statistics(Allocator& allocator, const AttentionProblem& problem, const Tensor& q,
                          const Tensor& k, const Tensor& max_logit, const Tensor& mean_entropy);

} // namespace braid::ops::cpu

namespace braid::ops {

BRAID_KERNEL(attention_forward)
BRAID_KERNEL(attention_backward)
BRAID_KERNEL(attention_statistics)

} // namespace braid::ops

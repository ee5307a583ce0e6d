#pragma once

#include "layers/sublayer/layer_context.h"
#include "ops/loss/cross_entropy.h"
#include "parallel/row_collectives.h"

namespace braid {

// How the residual stream meets tensor parallelism (Shoeybi et al., arXiv:1909.08053; with sequence
// parallelism Korthikanti et al., arXiv:2205.05198). Between sublayers a tensor rank holds its rows of the
// micro-batch (RankGrid::sequence) or a copy of all of them; a sublayer asks for what it needs, and need not
// know which it was. Without a mesh, or with one tensor rank, all of these give x itself.

/// Rows of the micro-batch's tokens per tensor rank, and the first of this rank's.
RowCounts token_rows(const LayerContext& ctx);
int64_t first_token(const LayerContext& ctx);

/// All tokens, as column-parallel weights read them, of which each tensor rank holds a part of the outputs
/// (heads, features, words): all-gather or copy; backward reduce-scatter or all-reduce.
Tensor to_column_parallel(LayerContext& ctx, const Tensor& x);
/// The sum of the parts that row-parallel weights give, which are split along their inputs, as it stands
/// between sublayers: reduce-scatter or all-reduce; backward all-gather or nothing.
Tensor from_row_parallel(LayerContext& ctx, const Tensor& part);

/// This rank's share of the tokens, for work that each token needs once (routing, experts): nothing or
/// scatter.
Tensor scatter_tokens(LayerContext& ctx, const Tensor& x);
/// From the share back to how tokens stand between sublayers: nothing or gather.
Tensor gather_tokens(LayerContext& ctx, const Tensor& x);

/// Makes the softmax whole where each tensor rank holds some words of the head; empty where one holds all.
ops::CombineHeadParts combine_head_parts(const LayerContext& ctx);

/// Whether this rank is the one of its tensor ranks that reports what all of them know.
bool reports_for_tensor_ranks(const LayerContext& ctx);

} // namespace braid

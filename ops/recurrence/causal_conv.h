#pragma once

#include "ops/documents.h"
#include "tensor/parameters/parameter.h"
#include "tensor/tape.h"

namespace braid::ops {

/// Depthwise causal convolution of x [T, C] with w [C, K], K >= 1, within each document:
///     u[t, c] = sum_j w[c, K - 1 - j] x[t - j, c] over j < K that stay in t's document;  y = silu(u) or u.
/// So w[c, K - 1] meets the current token. x and y may be bf16; w is f32 then. Saved for backward: x. Bits do
/// not depend on the number of threads.
Tensor causal_conv(Context& ctx, const Tensor& x, const Parameter* w, const DocumentsPtr& documents,
                   bool silu);

/// The convolution of documents that go on, with what they go on with.
struct ConvContinued {
    Tensor y;    // [T, C]
    Tensor last; // [num_documents (K - 1), C], the last inputs of each document
};
/// causal_conv of documents whose last inputs so far are `initial` [num_documents (K - 1), C], all of
/// document 0 first, in x's dtype, zeros or undefined where they begin: y is what the whole documents would
/// give, and gradients reach through states. Made of primitives around causal_conv.
ConvContinued causal_conv_continued(Context& ctx, const Tensor& x, const Parameter* w,
                                    const DocumentsPtr& documents, const Tensor& initial, bool silu);

} // namespace braid::ops

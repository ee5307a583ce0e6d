#pragma once

#include "layers/sublayer/decode_state.h"
#include "layers/sublayer/layer.h"
#include "ops/recurrence/causal_conv.h"

namespace braid {

/// The short convolution of a mixer over x [T, C], within documents, or in generation behind the last inputs,
/// which are carried as "conv".
inline Tensor short_convolution(LayerContext& ctx, const Sublayer* mixer, const Tensor& x, const Parameter* w,
                                bool silu) {
    if (!ctx.decode) return ops::causal_conv(ctx, x, w, ctx.documents, silu);
    Tensor& last = ctx.decode->of(mixer)["conv"];
    const auto continued = ops::causal_conv_continued(ctx, x, w, ctx.documents, last, silu);
    last = continued.last;
    return continued.y;
}

} // namespace braid

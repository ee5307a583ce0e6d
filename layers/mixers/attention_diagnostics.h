#pragma once

#include "layers/sublayer/layer_context.h"
#include "layers/sublayer/recorder.h"
#include "ops/attention/attention.h"
#include "tensor/host_values.h"

namespace braid {

/// What a run tells about attention at a site, where it asks: the largest logit and the mean entropy.
inline void record_attention(LayerContext& ctx, const DiagnosticSite& site, const Tensor& q, const Tensor& k,
                             const ops::AttentionOptions& options) {
    if (!ctx.reports() || !ctx.reports()->wants_diagnostics()) return;
    const auto statistics = ops::attention_statistics(ctx, q, k, ctx.documents, options);
    const auto tokens = static_cast<double>(q.dim(0));
    for (const double logit : host_values<double>(statistics.max_logit))
        ctx.reports()->max(site, "attention_logit_max", logit);
    for (const double entropy : host_values<double>(statistics.mean_entropy))
        ctx.reports()->mean(site, "attention_entropy", entropy * tokens, tokens);
}

} // namespace braid

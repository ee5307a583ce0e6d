#pragma once

#include <array>
#include <memory>

#include "layers/mixers/attention_config.h"
#include "layers/sublayer/layer.h"
#include "layers/sublayer/norm.h"
#include "layers/sublayer/recorder.h"
#include "ops/attention/attention.h"

namespace braid {

/// Causal grouped-query attention with optional QK-norm, partial rotary positions, sliding window and output
/// gate: the full-attention layer of Qwen3-Next (gate elementwise, QK-norm per head) and OLMo 2 (QK-norm
/// full).
class AttentionLayer : public Sublayer {
  public:
    AttentionLayer(const LayerBuilder& build, const AttentionConfig& config);

    std::vector<Phase> phases() const override;
    double forward_flops(const Documents& documents) const override;

  private:
    struct Projected {
        Tensor q, k, v, gate; // [T, H, d], [T, H_kv, d], [T, H_kv, d]; gate [T, H d] or [T, H], or undefined
    };

    void declare_biases(const LayerBuilder& build);
    Tensor forward(LayerContext& ctx, const Tensor& stream) const;
    Projected project(LayerContext& ctx, const Tensor& h) const;
    Tensor attend(LayerContext& ctx, const Projected& in) const;
    Tensor attend_with_cache(LayerContext& ctx, const Projected& in) const;
    ops::AttentionOptions options() const;
    int64_t gate_width() const;
    Tensor biased(Context& ctx, const Tensor& x, AttentionProjection projection) const;

    AttentionConfig config_; // with the heads of this rank
    DiagnosticSite site_;
    int64_t hidden_size_, num_global_heads_ = 0;
    const Parameter* input_;               // q, gate, k, v
    const Parameter* key_value_ = nullptr; // k, v, where several tensor ranks hold the same heads
    const Parameter* output_;
    std::array<const Parameter*, enum_names(AttentionProjection{}).size()> bias_ = {}; // null without one
    std::unique_ptr<Norm> q_norm_, k_norm_;
};

} // namespace braid

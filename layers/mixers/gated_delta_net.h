#pragma once

#include "layers/mixers/gated_delta_net_config.h"
#include "layers/sublayer/layer.h"
#include "layers/sublayer/norm.h"
#include "layers/sublayer/recorder.h"

namespace braid {

/// Gated DeltaNet (Yang et al., "Gated Delta Networks", arXiv:2412.06464) as in Qwen3-Next and Qwen3.5: a
/// short convolution with SiLU over q, k and v, L2-normalised q and k, the gated delta rule, and an RMSNorm
/// gated by z.
class GatedDeltaNetLayer : public Sublayer {
  public:
    GatedDeltaNetLayer(const LayerBuilder& build, const GatedDeltaNetConfig& config);

    std::vector<Phase> phases() const override;
    double forward_flops(const Documents& documents) const override;

  private:
    Tensor forward(LayerContext& ctx, const Tensor& stream) const;
    void record_state(Recorder& recorder, const Tensor& g, const Tensor& states) const;

    int64_t key_width() const { return config_.num_key_heads * config_.key_head_dim; }
    int64_t value_width() const { return config_.num_value_heads * config_.value_head_dim; }

    GatedDeltaNetConfig config_; // with the heads of this rank
    DiagnosticSite site_;
    int64_t hidden_size_, num_global_value_heads_ = 0;
    double norm_eps_;
    const Parameter* input_; // q, k, v, z, b, a
    const Parameter* conv_;  // q, k, v channels
    const Parameter* a_log_;
    const Parameter* dt_bias_;
    const Parameter* norm_;
    const Parameter* output_;
};

} // namespace braid

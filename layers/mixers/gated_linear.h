#pragma once

#include "layers/sublayer/layer.h"

namespace braid {

struct GatedLinearConfig {
    int64_t num_heads = 0;
    int64_t key_head_dim = 0;
    int64_t value_head_dim = 0; // a file that leaves it out means key_head_dim
    bool operator==(const GatedLinearConfig&) const = default;
};

/// Gated linear attention (Yang et al. 2023, arXiv:2312.06635): per head a state S [d_k, d_v] that every key
/// channel forgets at a rate of its own,
///     S_t = diag(a_t) S_(t-1) + k_tᵀ v_t;  o_t = q_t S_t / sqrt(d_k);  a_t = sigmoid(W_a x_t)^(1/16),
/// then an RMSNorm of each head and a SiLU gate. It shows how little a mixer is.
class GatedLinearLayer : public Sublayer {
  public:
    GatedLinearLayer(const LayerBuilder& build, const GatedLinearConfig& config);

    std::vector<Phase> phases() const override;
    double forward_flops(const Documents& documents) const override;

  private:
    Tensor forward(LayerContext& ctx, const Tensor& stream) const;

    GatedLinearConfig config_; // with the heads of this rank
    double norm_eps_;
    const Parameter* input_; // q, k, v, z, a
    const Parameter* norm_;
    const Parameter* output_;
};

/// type: gated_linear.
SublayerType gated_linear_type();

} // namespace braid

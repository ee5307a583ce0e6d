#pragma once

#include "layers/sublayer/layer.h"

namespace braid {

struct DeltaNetConfig {
    int64_t num_heads = 0;
    int64_t key_head_dim = 0;
    int64_t value_head_dim = 0; // a file that leaves it out means key_head_dim
    int64_t conv_kernel = 4;    // taps
    bool negative_eigenvalues = false;
    std::optional<double> output_norm_eps; // none: that of the sublayer's norms
    bool operator==(const DeltaNetConfig&) const = default;
};

/// DeltaNet (Yang et al. 2024, arXiv:2406.06484): a short convolution with SiLU over q, k and v,
/// L2-normalised q and k, the delta rule without decay, and an RMSNorm of each head. With
/// negative_eigenvalues beta lies between 0 and 2, so that a state can change its sign (Grazzi et al. 2024,
/// arXiv:2411.12537).
class DeltaNetLayer : public Sublayer {
  public:
    DeltaNetLayer(const LayerBuilder& build, const DeltaNetConfig& config);

    std::vector<Phase> phases() const override;
    double forward_flops(const Documents& documents) const override;

  private:
    Tensor forward(LayerContext& ctx, const Tensor& stream) const;

    DeltaNetConfig config_; // with the heads of this rank
    double norm_eps_;
    int64_t num_global_heads_;
    const Parameter* input_; // q, k, v, b
    const Parameter* conv_;  // q, k, v channels
    const Parameter* norm_;
    const Parameter* output_;
};

/// type: delta_net.
SublayerType delta_net_type();

} // namespace braid

#pragma once

#include "layers/feed_forward/mlp_config.h"
#include "layers/sublayer/layer.h"

namespace braid {

/// activation(W_up x) -> W_down, with a gate for swiglu and geglu (Shazeer, "GLU variants improve
/// transformer", 2020).
class MlpLayer : public Sublayer {
  public:
    MlpLayer(const LayerBuilder& build, const MlpConfig& config);

    std::vector<Phase> phases() const override;
    double forward_flops(const Documents& documents) const override;

  private:
    Activation activation_;
    const Parameter* input_; // gate, up; or up alone
    const Parameter* output_;
    const Parameter* input_bias_ = nullptr; // as input_
    const Parameter* output_bias_ = nullptr;
};

bool is_gated(Activation activation);
/// x [T, 2 n], the gate's half first, or [T, n] -> [T, n].
Tensor activate(Context& ctx, const Tensor& x, Activation activation);

} // namespace braid

#pragma once

#include <array>
#include <memory>
#include <string_view>
#include <vector>

#include "layers/mixers/attention_config.h"
#include "layers/sublayer/layer.h"
#include "layers/sublayer/norm.h"
#include "layers/sublayer/recorder.h"

namespace braid {

/// How fast heads forget, which nothing trains.
enum class LightningDecay { lightning, retnet };
constexpr auto enum_names(LightningDecay) {
    return std::array<std::string_view, 2>{"lightning", "retnet"};
}

struct LightningConfig {
    int64_t num_heads = 0;
    int64_t key_head_dim = 0;
    int64_t value_head_dim = 0; // a file that leaves it out means key_head_dim
    bool qk_norm = false;       // over each head
    RopeConfig rope = {.fraction = 0};
    LightningDecay decay = LightningDecay::lightning;
    bool gate = true;
    int64_t norm_groups = 0; // of heads; a file that leaves it out means num_heads
    bool operator==(const LightningConfig&) const = default;
};

/// Lightning attention (MiniMax-01, arXiv:2501.08313, section 2.2; Qin et al., arXiv:2401.04658): linear
/// attention with a decay per head that is no parameter,
///     S_t = a_h S_(t-1) + k_tᵀ v_t;  o_t = q_t S_t / sqrt(d_k);  y = W (RMSNorm(o) ⊙ sigmoid(W_g x)),
/// a_h = exp(-s_h (1 - l / (L - 1) + 1e-5)) in layer l of L with ALiBi's slopes s_h = 2^(-8 h / H), h from 1,
/// or that of RetNet (arXiv:2307.08621), 1 - 2^(-5 - h), h from 0.
class LightningLayer : public Sublayer {
  public:
    LightningLayer(const LayerBuilder& build, const LightningConfig& config);

    std::vector<Phase> phases() const override;
    double forward_flops(const Documents& documents) const override;

  private:
    Tensor forward(LayerContext& ctx, const Tensor& stream) const;
    Tensor log_decays(const LayerContext& ctx, int64_t tokens, DType dtype) const;

    LightningConfig config_; // with the heads and groups of this rank
    DiagnosticSite site_;
    double norm_eps_;
    int64_t num_global_heads_;
    std::vector<double> log_decays_; // of this rank's heads
    const Parameter* input_;         // q, k, v, gate
    const Parameter* norm_;
    const Parameter* output_;
    std::unique_ptr<Norm> q_norm_, k_norm_;
};

/// log a_h of all heads of a layer.
std::vector<double> lightning_log_decays(LightningDecay decay, int64_t num_heads, int layer,
                                         int64_t num_layers);

/// type: lightning.
SublayerType lightning_type();

} // namespace braid

#pragma once

#include <array>
#include <string_view>
#include <vector>

#include "layers/sublayer/layer.h"
#include "layers/sublayer/recorder.h"

namespace braid {

/// What may have a bias: the last projection to output gates.
enum class KimiDeltaProjection { gate };
constexpr auto enum_names(KimiDeltaProjection) {
    return std::array<std::string_view, 1>{"gate"};
}

struct KimiDeltaConfig {
    int64_t num_heads = 0;
    int64_t key_head_dim = 0;
    int64_t value_head_dim = 0;        // a file that leaves it out means key_head_dim
    int64_t conv_kernel = 4;           // taps
    std::optional<int64_t> decay_rank; // 0: full; none: key_head_dim
    double decay_bound = 0;            // of log decays, negative; 0: none
    std::optional<int64_t> gate_rank;  // 0: full; none: value_head_dim
    bool negative_eigenvalues = false;
    std::optional<double> output_norm_eps; // none: that of the sublayer's norms
    std::vector<KimiDeltaProjection> bias; // of these projections
    bool operator==(const KimiDeltaConfig&) const = default;
};

/// Kimi Delta Attention (Kimi Linear, arXiv:2510.26692): the gated delta rule with a decay for each key
/// channel,
///     g = -exp(A_log) softplus(f + dt_bias), or with a bound L, g = L sigmoid(exp(A_log) (f + dt_bias)),
/// f of low rank or full; short convolutions with SiLU over q, k and v, L2-normalised q and k, and an RMSNorm
/// of each head gated by the sigmoid of a projection, of low rank or full too.
class KimiDeltaLayer : public Sublayer {
  public:
    KimiDeltaLayer(const LayerBuilder& build, const KimiDeltaConfig& config);

    std::vector<Phase> phases() const override;
    double forward_flops(const Documents& documents) const override;

  private:
    Tensor forward(LayerContext& ctx, const Tensor& stream) const;
    Tensor log_decay(LayerContext& ctx, const Tensor& h) const;

    KimiDeltaConfig config_; // with the heads of this rank
    DiagnosticSite site_;
    double norm_eps_;
    int64_t num_global_heads_;
    const Parameter* input_; // q, k, v, b
    const Parameter* conv_;  // q, k, v channels
    const Parameter* decay_down_ = nullptr;
    const Parameter* decay_up_;
    const Parameter* a_log_;
    const Parameter* dt_bias_;
    const Parameter* gate_down_ = nullptr;
    const Parameter* gate_up_;
    const Parameter* gate_bias_ = nullptr;
    const Parameter* norm_;
    const Parameter* output_;
};

/// type: kimi_delta.
SublayerType kimi_delta_type();

} // namespace braid

#pragma once

#include <array>
#include <string_view>

#include "layers/sublayer/layer.h"
#include "layers/sublayer/recorder.h"

namespace braid {

/// Whether SiLU of the gate multiplies what is normed, or the norm's result.
enum class Mamba2Gate { before_norm, after_norm };
constexpr auto enum_names(Mamba2Gate) {
    return std::array<std::string_view, 2>{"before_norm", "after_norm"};
}

struct Mamba2Config {
    int64_t num_heads = 0;
    int64_t head_dim = 0;
    int64_t state_size = 0;
    int64_t num_groups = 1;  // of heads that share B and C
    int64_t conv_kernel = 4; // taps
    bool conv_bias = true;
    Mamba2Gate gate = Mamba2Gate::before_norm;
    std::optional<std::array<double, 2>> dt_limits; // of time steps; none: all that softplus gives
    std::optional<double> output_norm_eps;          // none: that of the sublayer's norms
    bool operator==(const Mamba2Config&) const = default;
};

/// Mamba-2 (Dao and Gu 2024, arXiv:2405.21060): x, B and C after a short convolution with SiLU, dt =
/// softplus(dt_raw + dt_bias) within dt_limits, and per head a state S [N, P],
///     S_t = e^(-exp(A_log) dt_t) S_(t-1) + B_tᵀ (dt_t x_t);  y_t = C_t S_t + D x_t,
/// then an RMSNorm over each group of heads, gated by SiLU of z before or after.
class Mamba2Layer : public Sublayer {
  public:
    Mamba2Layer(const LayerBuilder& build, const Mamba2Config& config);

    std::vector<Phase> phases() const override;
    double forward_flops(const Documents& documents) const override;

  private:
    Tensor forward(LayerContext& ctx, const Tensor& stream) const;
    /// Convolution with bias and SiLU of x, B, C.
    Tensor mix(LayerContext& ctx, const Tensor& xbc) const;
    /// y [T, H P] and the gate z, normed group by group.
    Tensor gated_norm(Context& ctx, const Tensor& y, const Tensor& z) const;

    Mamba2Config config_; // with the heads and groups of this rank
    DiagnosticSite site_;
    double norm_eps_;
    int64_t num_global_heads_;
    const Parameter* input_; // z, x, B, C, dt
    const Parameter* conv_;  // x, B, C channels
    const Parameter* conv_bias_ = nullptr;
    const Parameter* a_log_;
    const Parameter* dt_bias_;
    const Parameter* d_;
    const Parameter* norm_;
    const Parameter* output_;
};

/// type: mamba2.
SublayerType mamba2_type();

} // namespace braid

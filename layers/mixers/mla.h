#pragma once

#include <array>
#include <memory>
#include <optional>
#include <vector>

#include "layers/mixers/attention_config.h"
#include "layers/sublayer/layer.h"
#include "layers/sublayer/norm.h"
#include "layers/sublayer/recorder.h"
#include "ops/attention/attention.h"

namespace braid {

/// Those of latent attention that may have a bias: q where queries come from the stream, else q_a.
enum class MlaProjection { q, q_a, kv_a, out };
constexpr auto enum_names(MlaProjection) {
    return std::array<std::string_view, 4>{"q", "q_a", "kv_a", "out"};
}

struct MlaConfig {
    int64_t num_heads = 0;
    int64_t q_rank = 0; // of queries; 0: a projection of full rank
    int64_t kv_rank = 0;
    int64_t nope_head_dim = 0;             // of a query or key: what no position turns
    int64_t rope_head_dim = 0;             // and what one does, of which all heads have the same key
    int64_t value_head_dim = 0;            // a file that leaves it out means nope_head_dim
    std::optional<double> latent_norm_eps; // none: that of the sublayer's norms
    AttentionGate gate = AttentionGate::none;
    std::optional<double> score_scale; // none: 1 / sqrt(nope_head_dim + rope_head_dim)
    double mscale = 1;                 // with YaRN scores grow by (0.1 mscale ln(factor) + 1)²
    RopeConfig rope = {.pairing = ops::RopePairing::interleaved}; // fraction 0: the shared key is not turned
    std::vector<MlaProjection> bias;                              // of these projections
    bool operator==(const MlaConfig&) const = default;
};

/// Multi-head latent attention (DeepSeek-V2, arXiv:2405.04434, section 2.1; V3, arXiv:2412.19437): keys and
/// values of all heads come from one latent of kv_rank numbers a token, and one key of rope_head_dim numbers
/// that has the position and is shared by all heads,
///     c, r = W_kv_a x;  k^h, v^h = W_kv_b^h N(c);  q^h = W_q_b^h N(W_q_a x), or W_q^h x,
///     o^h = attention([q_nope^h, R q_rope^h], [k^h, R r], v^h),  R the rotation of a position.
/// Tensor ranks share out heads; the latents and their norms are on each of them, with gradients summed.
///
/// Generation keeps N(c) and R r alone (the absorbed form): W_kv_b's keys are multiplied with the queries and
/// its values with what attention gives, which then is that of many query heads on one key of kv_rank +
/// rope_head_dim numbers.
class MlaLayer : public Sublayer {
  public:
    MlaLayer(const LayerBuilder& build, const MlaConfig& config);

    std::vector<Phase> phases() const override;
    double forward_flops(const Documents& documents) const override;

  private:
    struct Projected {
        Tensor q;      // [T, H, nope + rope], turned
        Tensor latent; // [T, kv_rank], normed
        Tensor shared; // [T, rope], turned; undefined without one
    };

    void declare_queries(const LayerBuilder& build);
    void declare_biases(const LayerBuilder& build);
    Tensor forward(LayerContext& ctx, const Tensor& stream) const;
    Projected project(LayerContext& ctx, const Tensor& h) const;
    Tensor attend(LayerContext& ctx, const Projected& in) const;
    Tensor attend_absorbed(LayerContext& ctx, const Projected& in, const Tensor& known) const;
    Tensor gated(LayerContext& ctx, const Tensor& o, const Tensor& h) const;
    Tensor biased(Context& ctx, const Tensor& x, MlaProjection projection) const;
    int64_t key_size() const { return config_.nope_head_dim + config_.rope_head_dim; }

    MlaConfig config_; // with the heads of this rank
    DiagnosticSite site_;
    ops::AttentionOptions options_;
    int64_t num_global_heads_;
    const Parameter* query_down_ = nullptr;
    const Parameter* query_;          // from the latent or the stream
    const Parameter* key_value_down_; // the latent, then the shared key
    const Parameter* key_value_;
    const Parameter* gate_ = nullptr;
    const Parameter* output_;
    std::array<const Parameter*, enum_names(MlaProjection{}).size()> bias_ = {}; // null without one
    std::unique_ptr<Norm> query_norm_, key_value_norm_;
};

/// type: mla.
SublayerType mla_type();

} // namespace braid

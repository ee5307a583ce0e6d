#include "layers/gated_delta_net.h"

#include <cmath>

#include "layers/decode_state.h"
#include "ops/activation.h"
#include "ops/causal_conv.h"
#include "ops/delta_gate.h"
#include "ops/delta_rule.h"
#include "ops/l2_norm.h"
#include "ops/linear.h"
#include "ops/norm.h"
#include "ops/split.h"

namespace braid {
namespace {

constexpr double kL2Eps = 1e-6; // added to the sum of squares, not to the mean

} // namespace

GatedDeltaNetLayer::GatedDeltaNetLayer(const LayerBuilder& build, const GatedDeltaNetConfig& config,
                                       int position)
    : config_(config),
      site_{build.layer, position, build.sublayer.name},
      hidden_size_(build.model.hidden_size),
      norm_eps_(build.sublayer.norm.eps) {
    const int64_t kd = key_width(), vd = value_width(), heads = config.num_value_heads,
                  kernel = config.conv_kernel;
    input_ = build.store.declare(
        {build.matrix("q.weight", {kd, hidden_size_}), build.matrix("k.weight", {kd, hidden_size_}),
         build.matrix("v.weight", {vd, hidden_size_}), build.matrix("z.weight", {vd, hidden_size_}),
         build.matrix("b.weight", {heads, hidden_size_}), build.matrix("a.weight", {heads, hidden_size_})});
    // PyTorch's start of a depthwise convolution, which the published models keep: uniform within
    // 1/sqrt(kernel).
    const double bound = 1 / std::sqrt(static_cast<double>(kernel));
    const Initializer uniform{Initializer::Kind::uniform, -bound, bound};
    conv_ = build.store.declare({build.other("conv_q.weight", {kd, kernel}, ParameterRole::conv, uniform),
                                 build.other("conv_k.weight", {kd, kernel}, ParameterRole::conv, uniform),
                                 build.other("conv_v.weight", {vd, kernel}, ParameterRole::conv, uniform)});
    // A between 0.01 and 16 as in Qwen3.5: an A that rounds to 0 would make a head that never forgets or
    // learns.
    a_log_ = build.store.declare(
        build.other("a_log", {heads}, ParameterRole::recurrent, {Initializer::Kind::log_uniform, 0.01, 16}));
    dt_bias_ = build.store.declare(
        build.other("dt_bias", {heads}, ParameterRole::recurrent, {Initializer::Kind::constant, 1}));
    // The output norm is never zero-centred, whatever the model's norms are.
    norm_ = build.store.declare(build.other("norm.weight", {config.value_head_dim}, ParameterRole::norm,
                                            {Initializer::Kind::constant, 1}));
    output_ = build.store.declare(build.output_matrix("out.weight", {hidden_size_, vd}));
}

std::vector<Stage> GatedDeltaNetLayer::stages() const {
    return {{"", true, [this](Context& ctx, const Values& in) { return Values{forward(ctx, in[0])}; }}};
}

double GatedDeltaNetLayer::forward_flops(const Documents& documents) const {
    const auto tokens = static_cast<double>(documents.num_tokens());
    const auto weights =
        static_cast<double>(input_->shape().numel() + output_->shape().numel() + conv_->shape().numel());
    // The recurrence of a token and head: decay, k S, the outer product and q S on a d_k x d_v state.
    const auto state =
        static_cast<double>(config_.num_value_heads * config_.key_head_dim * config_.value_head_dim);
    return tokens * (2 * weights + 8 * state);
}

Tensor GatedDeltaNetLayer::forward(Context& ctx, const Tensor& h) const {
    const int64_t tokens = h.dim(0), kd = key_width(), vd = value_width(), heads = config_.num_value_heads;
    const auto& c = config_;
    const std::vector<int64_t> widths = {2 * kd + vd, vd, heads, heads}, conv_widths = {kd, kd, vd};
    const auto projected = ops::split_columns(ctx, ops::linear(ctx, h, input_), widths);
    DecodeState::Slot* slot = ctx.decode ? &ctx.decode->slot(this) : nullptr;

    const Tensor mixed = slot ? ops::causal_conv_step(ctx, projected[0], conv_, slot->conv, true)
                              : ops::causal_conv(ctx, projected[0], conv_, ctx.documents, true);
    const auto qkv = ops::split_columns(ctx, mixed, conv_widths);
    const Tensor q = ops::l2_norm(ctx, qkv[0].view({tokens, c.num_key_heads, c.key_head_dim}), kL2Eps);
    const Tensor k = ops::l2_norm(ctx, qkv[1].view({tokens, c.num_key_heads, c.key_head_dim}), kL2Eps);
    const Tensor v = qkv[2].view({tokens, heads, c.value_head_dim});
    const Tensor beta = ops::sigmoid(ctx, projected[2]);
    const Tensor g = ops::delta_decay(ctx, projected[3], a_log_, dt_bias_);

    const double scale = 1 / std::sqrt(static_cast<double>(c.key_head_dim));
    const bool diagnose = ctx.recorder && ctx.recorder->wants_diagnostics();
    Tensor states;
    const Tensor o = slot ? ops::gated_delta_rule_step(ctx, q, k, v, g, beta, slot->recurrent, scale)
                          : ops::gated_delta_rule(ctx, q, k, v, g, beta, ctx.documents, scale,
                                                  diagnose ? &states : nullptr);
    if (states.defined()) record_state(*ctx.recorder, g, states);
    const Tensor z = projected[1].view({tokens, heads, c.value_head_dim});
    const Tensor y = ops::gated_rms_norm(ctx, o, z, norm_, norm_eps_, ops::GateKind::silu);
    return ops::linear(ctx, y.view({tokens, vd}), output_);
}

void GatedDeltaNetLayer::record_state(Recorder& recorder, const Tensor& g, const Tensor& states) const {
    const ops::DeltaDiagnostics diagnostics = ops::delta_diagnostics(g, states);
    recorder.mean(site_, "decay_mean", diagnostics.decay_mean * static_cast<double>(g.numel()),
                  static_cast<double>(g.numel()));
    recorder.min(site_, "decay_min", diagnostics.decay_min);
    recorder.rms(site_, "state_rms", states);
}

} // namespace braid

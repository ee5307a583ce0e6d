#include "layers/mixers/kimi_delta.h"

#include <cmath>

#include "layers/mixers/convolution.h"
#include "layers/sublayer/biases.h"
#include "layers/sublayer/decode_state.h"
#include "layers/sublayer/regions.h"
#include "ops/basic/activation.h"
#include "ops/basic/elementwise.h"
#include "ops/basic/l2_norm.h"
#include "ops/basic/linear.h"
#include "ops/basic/norm.h"
#include "ops/basic/split.h"
#include "ops/compose/pointwise.h"
#include "ops/recurrence/linear_recurrence.h"

namespace braid {

KimiDeltaLayer::KimiDeltaLayer(const LayerBuilder& build, const KimiDeltaConfig& config)
    : config_(config),
      site_{build.layer, build.position, build.sublayer.name},
      norm_eps_(config.output_norm_eps.value_or(build.sublayer.norm.eps)),
      num_global_heads_(config.num_heads) {
    const int64_t hidden = build.model.hidden_size, keys = config.num_heads * config.key_head_dim,
                  values = config.num_heads * config.value_head_dim;
    const WholeParts heads{config.num_heads, "num_heads"};
    const auto rows = [&](const char* part, int64_t width, int64_t in) {
        return split_heads(build.matrix(part, {width, in}), 0, heads);
    };
    const auto channels = [&](const char* part, int64_t width) {
        return split_over_tensor(build.convolution(part, width, config.conv_kernel), 0, heads);
    };
    input_ = build.store.declare({rows("q.weight", keys, hidden), rows("k.weight", keys, hidden),
                                  rows("v.weight", values, hidden),
                                  split_over_tensor(build.gate("b.weight", {config.num_heads, hidden}), 0)});
    conv_ = build.store.declare({channels("conv_q.weight", keys), channels("conv_k.weight", keys),
                                 channels("conv_v.weight", values)});
    // Every tensor rank computes what is of low rank itself: each reads it for heads of its own.
    const auto down = [&](const char* part, int64_t rank) {
        return rank > 0 ? build.store.declare(build.matrix(part, {rank, hidden})) : nullptr;
    };
    const int64_t decay_rank = config.decay_rank.value_or(config.key_head_dim);
    decay_down_ = down("f_a.weight", decay_rank);
    decay_up_ = build.store.declare(decay_rank > 0 ? rows("f_b.weight", keys, decay_rank)
                                                   : rows("f.weight", keys, hidden));
    const int64_t gate_rank = config.gate_rank.value_or(config.value_head_dim);
    gate_down_ = down("g_a.weight", gate_rank);
    gate_up_ = build.store.declare(gate_rank > 0 ? rows("g_b.weight", values, gate_rank)
                                                 : rows("g.weight", values, hidden));
    if (has_bias(config.bias, KimiDeltaProjection::gate))
        gate_bias_ = build.store.declare(
            split_over_tensor(build.bias(gate_rank > 0 ? "g_b.bias" : "g.bias", {values}), 0, heads));
    const InitOverride& init = build.sublayer.config.init;
    const auto [least, most] = init.a_range.value_or(std::array{1.0, 16.0});
    a_log_ = build.store.declare(
        split_over_tensor(build.other("a_log", {config.num_heads}, ParameterRole::recurrent,
                                      {Initializer::Kind::log_uniform, least, most}),
                          0));
    const Initializer step = init.decay == DecayInit::constant_dt
                                 ? Initializer{Initializer::Kind::constant, 1}
                                 : Initializer{Initializer::Kind::inverse_softplus, 1e-3, 0.1};
    dt_bias_ = build.store.declare(split_over_tensor(
        build.other("dt_bias", {keys}, ParameterRole::recurrent, step), 0, {.count = config.num_heads}));
    norm_ = build.store.declare(build.other("norm.weight", {config.value_head_dim}, ParameterRole::norm,
                                            {Initializer::Kind::constant, 1}));
    output_ = build.store.declare(split_heads(build.output_matrix("out.weight", {hidden, values}), 1, heads));
    config_.num_heads = build.per_tensor_rank(config.num_heads);
}

std::vector<Phase> KimiDeltaLayer::phases() const {
    return {{"", true, [this](LayerContext& ctx, const Values& in) { return Values{forward(ctx, in[0])}; }}};
}

double KimiDeltaLayer::forward_flops(const Documents& documents) const {
    double weights = 0;
    for (const Parameter* w : {input_, conv_, decay_down_, decay_up_, gate_down_, gate_up_, output_})
        if (w) weights += static_cast<double>(w->num_global_elements());
    // The recurrence of a token and head: decay, k S, the outer product and q S on a d_k x d_v state.
    const auto states =
        static_cast<double>(num_global_heads_ * config_.key_head_dim * config_.value_head_dim);
    return static_cast<double>(documents.num_tokens()) * (2 * weights + 8 * states);
}

/// [T, H, d_k], not positive, in the dtype of states.
Tensor KimiDeltaLayer::log_decay(LayerContext& ctx, const Tensor& h) const {
    const Tensor low = ops::linear(ctx, decay_down_ ? ops::linear(ctx, h, decay_down_) : h, decay_up_);
    const Tensor f = ops::add_vector(ctx, ops::cast(ctx, low, accumulation_dtype(low.dtype())),
                                     ops::value_of(ctx, dt_bias_));
    const Shape by_head = {h.dim(0), config_.num_heads, config_.key_head_dim};
    const Tensor rate = ops::exp(ctx, ops::value_of(ctx, a_log_));
    if (config_.decay_bound < 0)
        return ops::scale(ctx, ops::sigmoid(ctx, ops::scale_heads(ctx, f.view(by_head), rate)),
                          config_.decay_bound);
    return ops::scale(ctx, ops::scale_heads(ctx, ops::softplus(ctx, f).view(by_head), rate), -1);
}

Tensor KimiDeltaLayer::forward(LayerContext& ctx, const Tensor& stream) const {
    const Tensor h = to_column_parallel(ctx, stream);
    const int64_t tokens = h.dim(0), heads = config_.num_heads, dk = config_.key_head_dim,
                  dv = config_.value_head_dim;
    const std::vector<int64_t> widths = {heads * (2 * dk + dv), heads},
                               parts = {heads * dk, heads * dk, heads * dv};
    const auto projected = ops::split_columns(ctx, ops::linear(ctx, h, input_), widths);
    DecodeState::Tensors* const state = ctx.decode ? &ctx.decode->of(this) : nullptr;
    const Tensor mixed = short_convolution(ctx, this, projected[0], conv_, true);
    const auto qkv = ops::split_columns(ctx, mixed, parts);
    const Tensor logits = ops::cast(ctx, projected[1], accumulation_dtype(projected[1].dtype()));
    const Tensor g = log_decay(ctx, h);
    const auto [o, last] = ops::linear_recurrence(
        ctx,
        {.q = ops::l2_norm(ctx, qkv[0].view({tokens, heads, dk})),
         .k = ops::l2_norm(ctx, qkv[1].view({tokens, heads, dk})),
         .v = qkv[2].view({tokens, heads, dv}),
         .log_decay = g,
         .beta = ops::scale(ctx, ops::sigmoid(ctx, logits), config_.negative_eigenvalues ? 2 : 1),
         .scale = 1 / std::sqrt(static_cast<double>(dk))},
        ctx.documents, state ? (*state)["recurrent"] : Tensor());
    if (state) (*state)["recurrent"] = last;
    if (ctx.reports() && ctx.reports()->wants_diagnostics()) ctx.reports()->rms(site_, "state_rms", last);

    const Tensor gate = with_bias(
        ctx, ops::linear(ctx, gate_down_ ? ops::linear(ctx, h, gate_down_) : h, gate_up_), gate_bias_);
    const Tensor y =
        ops::gated_rms_norm(ctx, o, gate.view({tokens, heads, dv}), norm_, norm_eps_, ops::GateKind::sigmoid);
    return from_row_parallel(ctx, ops::linear(ctx, y.view({tokens, heads * dv}), output_));
}

} // namespace braid

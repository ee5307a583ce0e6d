#include "layers/mixers/mamba2.h"

#include <cmath>

#include "layers/mixers/convolution.h"
#include "layers/sublayer/decode_state.h"
#include "layers/sublayer/regions.h"
#include "ops/basic/activation.h"
#include "ops/basic/elementwise.h"
#include "ops/basic/linear.h"
#include "ops/basic/norm.h"
#include "ops/basic/split.h"
#include "ops/compose/pointwise.h"
#include "ops/recurrence/linear_recurrence.h"

namespace braid {

Mamba2Layer::Mamba2Layer(const LayerBuilder& build, const Mamba2Config& config)
    : config_(config),
      site_{build.layer, build.position, build.sublayer.name},
      norm_eps_(config.output_norm_eps.value_or(build.sublayer.norm.eps)),
      num_global_heads_(config.num_heads) {
    const int64_t hidden = build.model.hidden_size, inner = config.num_heads * config.head_dim,
                  shared = config.num_groups * config.state_size;
    // Groups stay whole on a tensor rank, with their heads and their part of the norm.
    const WholeParts heads{config.num_heads, "num_heads"}, groups{config.num_groups, "num_groups"};
    const auto rows = [&](const char* part, int64_t width, const WholeParts& parts) {
        return split_heads(build.matrix(part, {width, hidden}), 0, parts);
    };
    input_ = build.store.declare({rows("z.weight", inner, heads), rows("x.weight", inner, heads),
                                  rows("b.weight", shared, groups), rows("c.weight", shared, groups),
                                  split_over_tensor(build.gate("dt.weight", {config.num_heads, hidden}), 0)});
    const auto channels = [&](const char* part, int64_t width, const WholeParts& parts) {
        return split_over_tensor(build.convolution(part, width, config.conv_kernel), 0, parts);
    };
    conv_ = build.store.declare({channels("conv_x.weight", inner, heads),
                                 channels("conv_b.weight", shared, groups),
                                 channels("conv_c.weight", shared, groups)});
    const double bound = 1 / std::sqrt(static_cast<double>(config.conv_kernel));
    const auto bias = [&](const char* part, int64_t width, const WholeParts& parts) {
        return split_over_tensor(
            build.other(part, {width}, ParameterRole::bias, {Initializer::Kind::uniform, -bound, bound}), 0,
            parts);
    };
    if (config.conv_bias)
        conv_bias_ =
            build.store.declare({bias("conv_x.bias", inner, heads), bias("conv_b.bias", shared, groups),
                                 bias("conv_c.bias", shared, groups)});
    const auto per_head = [&](const char* part, Initializer start) {
        return build.store.declare(
            split_over_tensor(build.other(part, {config.num_heads}, ParameterRole::recurrent, start), 0));
    };
    const InitOverride& init = build.sublayer.config.init;
    const auto [least, most] = init.a_range.value_or(std::array{1.0, 16.0});
    a_log_ = per_head("a_log", {Initializer::Kind::log_uniform, least, most});
    dt_bias_ = per_head("dt_bias", init.decay == DecayInit::constant_dt
                                       ? Initializer{Initializer::Kind::constant, 1}
                                       : Initializer{Initializer::Kind::inverse_softplus, 1e-3, 0.1});
    d_ = per_head("d", {Initializer::Kind::constant, 1});
    norm_ = build.store.declare(split_over_tensor(
        build.other("norm.weight", {inner}, ParameterRole::norm, {Initializer::Kind::constant, 1}), 0,
        {.count = config.num_groups}));
    output_ = build.store.declare(split_heads(build.output_matrix("out.weight", {hidden, inner}), 1, heads));
    config_.num_heads = build.per_tensor_rank(config.num_heads);
    config_.num_groups = build.per_tensor_rank(config.num_groups);
}

std::vector<Phase> Mamba2Layer::phases() const {
    return {{"", true, [this](LayerContext& ctx, const Values& in) { return Values{forward(ctx, in[0])}; }}};
}

double Mamba2Layer::forward_flops(const Documents& documents) const {
    const auto weights = static_cast<double>(input_->num_global_elements() + output_->num_global_elements() +
                                             conv_->num_global_elements());
    // Of a token and head: the decay, the outer product and C S on an N x P state.
    const auto states = static_cast<double>(num_global_heads_ * config_.state_size * config_.head_dim);
    return static_cast<double>(documents.num_tokens()) * (2 * weights + 5 * states);
}

Tensor Mamba2Layer::mix(LayerContext& ctx, const Tensor& xbc) const {
    const bool silu_inside = !conv_bias_;
    const Tensor y = short_convolution(ctx, this, xbc, conv_, silu_inside);
    return silu_inside ? y : ops::silu(ctx, ops::add_vector(ctx, y, ops::value_of(ctx, conv_bias_)));
}

Tensor Mamba2Layer::gated_norm(Context& ctx, const Tensor& y, const Tensor& z) const {
    const int64_t tokens = y.dim(0), inner = y.dim(1), groups = config_.num_groups;
    const Tensor gate = ops::silu(ctx, z);
    const Tensor in = config_.gate == Mamba2Gate::before_norm ? ops::multiply(ctx, y, gate) : y;
    const Tensor normed =
        ops::rms_norm(ctx, in.view({tokens, groups, inner / groups}), nullptr, norm_eps_, false);
    const Tensor weighed = ops::scale_heads(ctx, normed.view({tokens, inner, 1}), ops::value_of(ctx, norm_))
                               .view({tokens, inner});
    return config_.gate == Mamba2Gate::before_norm ? weighed : ops::multiply(ctx, weighed, gate);
}

Tensor Mamba2Layer::forward(LayerContext& ctx, const Tensor& stream) const {
    const Tensor h = to_column_parallel(ctx, stream);
    const int64_t tokens = h.dim(0), heads = config_.num_heads, groups = config_.num_groups,
                  size = config_.state_size, inner = heads * config_.head_dim;
    const std::vector<int64_t> widths = {inner, inner + 2 * groups * size, heads},
                               parts = {inner, groups * size, groups * size};
    const auto projected = ops::split_columns(ctx, ops::linear(ctx, h, input_), widths);
    const auto xbc = ops::split_columns(ctx, mix(ctx, projected[1]), parts);

    // Steps, decays and what enters the states are in the dtype of states.
    const DType wide = accumulation_dtype(h.dtype());
    Tensor dt = ops::softplus(
        ctx, ops::add_vector(ctx, ops::cast(ctx, projected[2], wide), ops::value_of(ctx, dt_bias_)));
    if (config_.dt_limits) dt = ops::clamp(ctx, dt, (*config_.dt_limits)[0], (*config_.dt_limits)[1]);
    const Tensor rate = ops::scale(ctx, ops::exp(ctx, ops::value_of(ctx, a_log_)), -1);
    const Tensor x = ops::cast(ctx, xbc[0], wide).view({tokens, heads, config_.head_dim});
    DecodeState::Tensors* const state = ctx.decode ? &ctx.decode->of(this) : nullptr;
    const auto [o, last] = ops::linear_recurrence(
        ctx,
        {.q = ops::cast(ctx, xbc[2], wide).view({tokens, groups, size}),
         .k = ops::cast(ctx, xbc[1], wide).view({tokens, groups, size}),
         .v = ops::multiply_rows(ctx, x, dt),
         .log_decay = ops::scale_heads(ctx, dt.view({tokens, heads, 1}), rate).view({tokens, heads}),
         .beta = {},
         .scale = 1},
        ctx.documents, state ? (*state)["state"] : Tensor());
    if (state) (*state)["state"] = last;
    if (ctx.reports() && ctx.reports()->wants_diagnostics()) ctx.reports()->rms(site_, "state_rms", last);

    const Tensor y = ops::add(ctx, o, ops::scale_heads(ctx, x, ops::value_of(ctx, d_)));
    const Tensor out = gated_norm(ctx, ops::cast(ctx, y.view({tokens, inner}), h.dtype()), projected[0]);
    return from_row_parallel(ctx, ops::linear(ctx, out, output_));
}

} // namespace braid

#include "layers/mixers/lightning.h"

#include <cmath>

#include "layers/sublayer/decode_state.h"
#include "layers/sublayer/regions.h"
#include "ops/attention/rope.h"
#include "ops/basic/activation.h"
#include "ops/basic/elementwise.h"
#include "ops/basic/linear.h"
#include "ops/basic/norm.h"
#include "ops/basic/split.h"
#include "ops/compose/pointwise.h"
#include "ops/recurrence/linear_recurrence.h"
#include "tensor/host_values.h"

namespace braid {
namespace {

/// ALiBi's slopes (Press et al., arXiv:2108.12409): of a power of two n, 2^(-8 i / n) for i from 1; of other
/// numbers those of the power below, and then every other one of the power above.
std::vector<double> slopes(int64_t count) {
    int64_t power = 1;
    while (2 * power <= count) power *= 2;
    std::vector<double> result;
    const auto slope = [](int64_t i, int64_t n) {
        return std::exp2(-8 * static_cast<double>(i) / static_cast<double>(n));
    };
    for (int64_t i = 1; i <= power; ++i) result.push_back(slope(i, power));
    for (int64_t i = 1; static_cast<int64_t>(result.size()) < count; i += 2)
        result.push_back(slope(i, 2 * power));
    return result;
}

} // namespace

std::vector<double> lightning_log_decays(LightningDecay decay, int64_t num_heads, int layer,
                                         int64_t num_layers) {
    std::vector<double> result;
    if (decay == LightningDecay::retnet) {
        for (int64_t h = 0; h < num_heads; ++h)
            result.push_back(std::log1p(-std::exp2(-5 - static_cast<double>(h))));
        return result;
    }
    const double depth =
        num_layers > 1 ? static_cast<double>(layer) / static_cast<double>(num_layers - 1) : 0;
    for (const double slope : slopes(num_heads)) result.push_back(-slope * (1 - depth + 1e-5));
    return result;
}

LightningLayer::LightningLayer(const LayerBuilder& build, const LightningConfig& config)
    : config_(config),
      site_{build.layer, build.position, build.sublayer.name},
      norm_eps_(build.sublayer.norm.eps),
      num_global_heads_(config.num_heads) {
    const int64_t hidden = build.model.hidden_size, keys = config.num_heads * config.key_head_dim,
                  values = config.num_heads * config.value_head_dim;
    const WholeParts heads{config.num_heads, "num_heads"};
    const auto rows = [&](const char* part, int64_t width) {
        return split_heads(build.matrix(part, {width, hidden}), 0, heads);
    };
    std::vector<ParameterSpec> sections = {rows("q.weight", keys), rows("k.weight", keys),
                                           rows("v.weight", values)};
    if (config.gate) sections.push_back(rows("gate.weight", values));
    input_ = build.store.declare(std::move(sections));
    // Groups stay whole on a tensor rank, with their heads.
    norm_ = build.store.declare(split_over_tensor(
        build.other("norm.weight", {values}, ParameterRole::norm, {Initializer::Kind::constant, 1}), 0,
        {config.norm_groups, "norm_groups"}));
    output_ = build.store.declare(split_heads(build.output_matrix("out.weight", {hidden, values}), 1, heads));
    config_.num_heads = build.per_tensor_rank(config.num_heads);
    config_.norm_groups = build.per_tensor_rank(config.norm_groups);
    const std::vector<double> all =
        lightning_log_decays(config.decay, config.num_heads, build.layer, build.num_layers);
    const int64_t first = build.store.grid().tensor.index * config_.num_heads;
    for (int64_t h = 0; h < config_.num_heads && first + h < config.num_heads; ++h)
        log_decays_.push_back(all[static_cast<size_t>(first + h)]);
    if (!config.qk_norm) return;
    const auto norm = [&](const char* part) {
        return std::make_unique<Norm>(build.store, build.sublayer.norm, build.name(part), config.key_head_dim,
                                      build.sublayer.name, build.layer, Norm::Rows::heads);
    };
    q_norm_ = norm("q_norm");
    k_norm_ = norm("k_norm");
}

std::vector<Phase> LightningLayer::phases() const {
    return {{"", true, [this](LayerContext& ctx, const Values& in) { return Values{forward(ctx, in[0])}; }}};
}

double LightningLayer::forward_flops(const Documents& documents) const {
    const auto weights = static_cast<double>(input_->num_global_elements() + output_->num_global_elements());
    // Of a token and head: the decay, k v and q S on a d_k x d_v state.
    const auto states =
        static_cast<double>(num_global_heads_ * config_.key_head_dim * config_.value_head_dim);
    return static_cast<double>(documents.num_tokens()) * (2 * weights + 5 * states);
}

/// [tokens, H], constants without gradient.
Tensor LightningLayer::log_decays(const LayerContext& ctx, int64_t tokens, DType dtype) const {
    Context quiet;
    quiet.allocator = ctx.allocator;
    const Tensor row = ops::cast(quiet, tensor_of(*ctx.allocator, log_decays_), dtype);
    return ops::add_vector(quiet, Tensor::zeros(*ctx.allocator, {tokens, row.numel()}, dtype), row);
}

Tensor LightningLayer::forward(LayerContext& ctx, const Tensor& stream) const {
    const Tensor h = to_column_parallel(ctx, stream);
    const int64_t tokens = h.dim(0), heads = config_.num_heads, dk = config_.key_head_dim,
                  dv = config_.value_head_dim, width = heads * dv;
    std::vector<int64_t> widths = {heads * dk, heads * dk, width};
    if (config_.gate) widths.push_back(width);
    const auto parts = ops::split_columns(ctx, ops::linear(ctx, h, input_), widths);
    const auto positioned = [&](const Tensor& x, const Norm* norm) {
        Tensor y = x.view({tokens, heads, dk});
        if (norm) y = norm->forward(ctx, y);
        return config_.rope.fraction > 0 ? ops::rope(ctx, y, ctx.documents, config_.rope.options()) : y;
    };
    DecodeState::Tensors* const state = ctx.decode ? &ctx.decode->of(this) : nullptr;
    const auto [o, last] =
        ops::linear_recurrence(ctx,
                               {.q = positioned(parts[0], q_norm_.get()),
                                .k = positioned(parts[1], k_norm_.get()),
                                .v = parts[2].view({tokens, heads, dv}),
                                .log_decay = log_decays(ctx, tokens, accumulation_dtype(h.dtype())),
                                .beta = {},
                                .scale = 1 / std::sqrt(static_cast<double>(dk))},
                               ctx.documents, state ? (*state)["state"] : Tensor());
    if (state) (*state)["state"] = last;
    if (ctx.reports() && ctx.reports()->wants_diagnostics()) ctx.reports()->rms(site_, "state_rms", last);

    const int64_t groups = config_.norm_groups;
    const Tensor normed =
        ops::rms_norm(ctx, o.view({tokens, groups, width / groups}), nullptr, norm_eps_, false);
    Tensor y = ops::scale_heads(ctx, normed.view({tokens, width, 1}), ops::value_of(ctx, norm_))
                   .view({tokens, width});
    if (config_.gate) y = ops::sigmoid_gate(ctx, y, parts[3]);
    return from_row_parallel(ctx, ops::linear(ctx, y, output_));
}

} // namespace braid

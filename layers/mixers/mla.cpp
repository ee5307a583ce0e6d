#include "layers/mixers/mla.h"

#include <cmath>

#include "layers/mixers/attention_diagnostics.h"
#include "layers/sublayer/biases.h"
#include "layers/sublayer/decode_state.h"
#include "layers/sublayer/growing_rows.h"
#include "layers/sublayer/regions.h"
#include "ops/attention/rope.h"
#include "ops/basic/activation.h"
#include "ops/basic/elementwise.h"
#include "ops/basic/linear.h"
#include "ops/basic/split.h"
#include "ops/compose/matrices.h"
#include "ops/compose/pointwise.h"
#include "ops/compose/rows.h"

namespace braid {
namespace {

ops::AttentionOptions options_of(const MlaConfig& c) {
    double scale =
        c.score_scale.value_or(1 / std::sqrt(static_cast<double>(c.nope_head_dim + c.rope_head_dim)));
    if (c.rope.scaling.type == ops::RopeScalingType::yarn) {
        const double growth = 0.1 * c.mscale * std::log(c.rope.scaling.factor) + 1;
        scale *= growth * growth;
    }
    return {.scale = scale};
}

} // namespace

MlaLayer::MlaLayer(const LayerBuilder& build, const MlaConfig& config)
    : config_(config),
      site_{build.layer, build.position, build.sublayer.name},
      options_(options_of(config)),
      num_global_heads_(config.num_heads) {
    declare_queries(build);
    const int64_t hidden = build.model.hidden_size, heads = config.num_heads;
    const WholeParts parts{heads, "num_heads"};
    // Every tensor rank has the latents whole, for heads of its own.
    key_value_down_ =
        build.store.declare(build.matrix("kv_a.weight", {config.kv_rank + config.rope_head_dim, hidden}));
    NormConfig norm = build.sublayer.norm;
    norm.eps = config.latent_norm_eps.value_or(norm.eps);
    const auto latent_norm = [&](const char* part, int64_t size) {
        return std::make_unique<Norm>(build.store, norm, build.name(part), size, build.sublayer.name,
                                      build.layer, Norm::Rows::heads);
    };
    if (config.q_rank > 0) query_norm_ = latent_norm("q_norm", config.q_rank);
    key_value_norm_ = latent_norm("kv_norm", config.kv_rank);
    key_value_ = build.store.declare(split_heads(
        build.matrix("kv_b.weight", {heads * (config.nope_head_dim + config.value_head_dim), config.kv_rank}),
        0, parts));
    if (config.gate == AttentionGate::elementwise)
        gate_ = build.store.declare(
            split_heads(build.matrix("gate.weight", {heads * config.value_head_dim, hidden}), 0, parts));
    if (config.gate == AttentionGate::head)
        gate_ = build.store.declare(split_over_tensor(build.gate("gate.weight", {heads, hidden}), 0));
    output_ = build.store.declare(
        split_heads(build.output_matrix("out.weight", {hidden, heads * config.value_head_dim}), 1, parts));
    declare_biases(build);
    config_.num_heads = build.per_tensor_rank(heads);
}

void MlaLayer::declare_queries(const LayerBuilder& build) {
    const int64_t hidden = build.model.hidden_size, width = config_.num_heads * key_size();
    const bool low = config_.q_rank > 0;
    if (low) query_down_ = build.store.declare(build.matrix("q_a.weight", {config_.q_rank, hidden}));
    query_ = build.store.declare(
        split_heads(build.matrix(low ? "q_b.weight" : "q.weight", {width, low ? config_.q_rank : hidden}), 0,
                    {config_.num_heads, "num_heads"}));
}

void MlaLayer::declare_biases(const LayerBuilder& build) {
    const auto declare = [&](MlaProjection projection, const ParameterSpec& spec) {
        if (has_bias(config_.bias, projection))
            bias_[static_cast<size_t>(projection)] = build.store.declare(spec);
    };
    using enum MlaProjection;
    if (config_.q_rank > 0)
        declare(q_a, build.bias("q_a.bias", {config_.q_rank}));
    else
        declare(q, split_over_tensor(build.bias("q.bias", {config_.num_heads * key_size()}), 0,
                                     {config_.num_heads, "num_heads"}));
    declare(kv_a, build.bias("kv_a.bias", {config_.kv_rank + config_.rope_head_dim}));
    declare(out, build.output_bias("out.bias", build.model.hidden_size));
}

Tensor MlaLayer::biased(Context& ctx, const Tensor& x, MlaProjection projection) const {
    return with_bias(ctx, x, bias_[static_cast<size_t>(projection)]);
}

std::vector<Phase> MlaLayer::phases() const {
    return {{"", true, [this](LayerContext& ctx, const Values& in) { return Values{forward(ctx, in[0])}; }}};
}

double MlaLayer::forward_flops(const Documents& documents) const {
    double weights = 0, pairs = 0; // of a query and a key it sees
    for (const Parameter* w : {query_down_, query_, key_value_down_, key_value_, gate_, output_})
        if (w) weights += static_cast<double>(w->num_global_elements());
    for (size_t i = 0; i + 1 < documents.offsets.size(); ++i) {
        const auto length = static_cast<double>(documents.offsets[i + 1] - documents.offsets[i]);
        pairs += length * (length + 1) / 2;
    }
    return 2 * static_cast<double>(documents.num_tokens()) * weights +
           2 * pairs * static_cast<double>(num_global_heads_ * (key_size() + config_.value_head_dim));
}

Tensor MlaLayer::forward(LayerContext& ctx, const Tensor& stream) const {
    const Tensor h = to_column_parallel(ctx, stream);
    const Projected in = project(ctx, h);
    Tensor o; // [T, H, d_v]
    if (ctx.decode) {
        const int64_t before = ctx.documents->first_position, tokens = h.dim(0);
        Tensor& known = ctx.decode->of(this)["latent"]; // [capacity, kv_rank + rope]
        const Tensor parts[] = {in.latent, in.shared};
        const Tensor rows = in.shared.defined() ? ops::concatenate_columns(ctx, parts) : in.latent;
        append_rows(*ctx.allocator, known, before, rows);
        // A prompt has no other tokens to see than its own, whose keys and values are cheaper to make.
        o = before == 0 && tokens > 1 ? attend(ctx, in)
                                      : attend_absorbed(ctx, in, known.rows(0, before + tokens));
    } else {
        o = attend(ctx, in);
    }
    const int64_t width = config_.num_heads * config_.value_head_dim;
    const Tensor part = ops::linear(ctx, gated(ctx, o, h).view({h.dim(0), width}), output_);
    return biased(ctx, from_row_parallel(ctx, part), MlaProjection::out);
}

MlaLayer::Projected MlaLayer::project(LayerContext& ctx, const Tensor& h) const {
    const auto& c = config_;
    const int64_t tokens = h.dim(0);
    const auto latent_query = [&] {
        const Tensor down = biased(ctx, ops::linear(ctx, h, query_down_), MlaProjection::q_a);
        return query_norm_->forward(ctx, down);
    };
    const Tensor queries =
        biased(ctx, ops::linear(ctx, query_down_ ? latent_query() : h, query_), MlaProjection::q);
    const bool turns = c.rope_head_dim > 0 && c.rope.fraction > 0;
    ops::RopeOptions rope = c.rope.options();
    rope.scaling.attention_factor = rope.scaling.attention_factor.value_or(1); // mscale stands for it
    const auto turned = [&](const Tensor& x, int64_t offset) {
        rope.offset = offset;
        rope.fraction =
            c.rope.fraction * static_cast<double>(c.rope_head_dim) / static_cast<double>(x.dim(2));
        return turns ? ops::rope(ctx, x, ctx.documents, rope) : x;
    };
    Projected out;
    out.q = turned(queries.view({tokens, c.num_heads, key_size()}), c.nope_head_dim);
    std::vector<int64_t> widths = {c.kv_rank};
    if (c.rope_head_dim > 0) widths.push_back(c.rope_head_dim);
    const auto parts = ops::split_columns(
        ctx, biased(ctx, ops::linear(ctx, h, key_value_down_), MlaProjection::kv_a), widths);
    out.latent = key_value_norm_->forward(ctx, parts[0]);
    if (c.rope_head_dim > 0)
        out.shared = turned(parts[1].view({tokens, 1, c.rope_head_dim}), 0).view({tokens, c.rope_head_dim});
    return out;
}

/// Attention with the keys and values of all heads.
Tensor MlaLayer::attend(LayerContext& ctx, const Projected& in) const {
    const auto& c = config_;
    const int64_t tokens = in.latent.dim(0), heads = c.num_heads;
    const std::vector<int64_t> widths = {c.nope_head_dim, c.value_head_dim};
    const Tensor expanded =
        ops::linear(ctx, in.latent, key_value_).view({tokens * heads, c.nope_head_dim + c.value_head_dim});
    const auto parts = ops::split_columns(ctx, expanded, widths);
    Tensor k = parts[0];
    if (in.shared.defined()) {
        const Tensor shared = ops::repeat_rows(ctx, in.shared, heads);
        const Tensor joined[] = {parts[0], shared};
        k = ops::concatenate_columns(ctx, joined);
    }
    k = ops::packed(ctx, k).view({tokens, heads, key_size()});
    const Tensor v = ops::packed(ctx, parts[1]).view({tokens, heads, c.value_head_dim});
    record_attention(ctx, site_, in.q, k, options_);
    return ops::attention(ctx, in.q, k, v, ctx.documents, options_);
}

/// The same of the rows [S, kv_rank + rope] of all tokens of one document, of which the last ask.
Tensor MlaLayer::attend_absorbed(LayerContext& ctx, const Projected& in, const Tensor& known) const {
    const auto& c = config_;
    const int64_t tokens = in.q.dim(0), heads = c.num_heads, count = known.dim(0),
                  rows = c.nope_head_dim + c.value_head_dim;
    const Tensor w = ops::cast(ctx, ops::value_of(ctx, key_value_), in.q.dtype())
                         .view({heads, rows * c.kv_rank}); // of each head: keys, then values
    const Tensor of_keys =
                     w.columns(0, c.nope_head_dim * c.kv_rank).view({heads, c.nope_head_dim, c.kv_rank}),
                 of_values = w.columns(c.nope_head_dim * c.kv_rank, c.value_head_dim * c.kv_rank)
                                 .view({heads, c.value_head_dim, c.kv_rank});
    const Tensor by_row = in.q.view({tokens * heads, key_size()});
    const Tensor plain =
        ops::packed(ctx, by_row.columns(0, c.nope_head_dim)).view({tokens, heads, c.nope_head_dim});
    const Tensor seeing = ops::swap_rows(ctx, ops::batched_matmul(ctx, ops::swap_rows(ctx, plain), of_keys));
    const Tensor parts[] = {seeing.view({tokens * heads, c.kv_rank}),
                            by_row.columns(c.nope_head_dim, c.rope_head_dim)};
    const int64_t width = c.kv_rank + c.rope_head_dim;
    const Tensor q =
        c.rope_head_dim > 0 ? ops::concatenate_columns(ctx, parts).view({tokens, heads, width}) : seeing;
    const Tensor mixed = ops::attention(ctx, q, known.view({count, 1, width}),
                                        known.columns(0, c.kv_rank).view({count, 1, c.kv_rank}),
                                        ctx.documents, Documents::single(count), options_);
    return ops::swap_rows(ctx, ops::batched_matmul(ctx, ops::swap_rows(ctx, mixed), of_values, false, true));
}

Tensor MlaLayer::gated(LayerContext& ctx, const Tensor& o, const Tensor& h) const {
    if (!gate_) return o;
    const Tensor gate = ops::linear(ctx, h, gate_);
    if (config_.gate == AttentionGate::head) return ops::sigmoid_gate(ctx, o, gate);
    return ops::sigmoid_gate(ctx, o.view(gate.shape()), gate);
}

} // namespace braid

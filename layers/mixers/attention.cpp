#include "layers/mixers/attention.h"

#include <algorithm>
#include <cmath>

#include "layers/mixers/attention_diagnostics.h"
#include "layers/sublayer/biases.h"
#include "layers/sublayer/decode_state.h"
#include "layers/sublayer/growing_rows.h"
#include "layers/sublayer/regions.h"
#include "ops/attention/rope.h"
#include "ops/basic/activation.h"
#include "ops/basic/linear.h"
#include "ops/basic/split.h"

namespace braid {
AttentionLayer::AttentionLayer(const LayerBuilder& build, const AttentionConfig& config)
    : config_(config),
      site_{build.layer, build.position, build.sublayer.name},
      hidden_size_(build.model.hidden_size) {
    const int64_t heads = config.num_heads * config.head_dim, kv = config.num_kv_heads * config.head_dim;
    // Heads stay whole on a tensor rank.
    const WholeParts query{config.num_heads, "num_heads"}, key{config.num_kv_heads, "num_kv_heads", true};
    const auto rows = [&](const char* part, int64_t width, const WholeParts& parts) {
        return split_heads(build.matrix(part, {width, hidden_size_}), 0, parts);
    };
    std::vector<ParameterSpec> sections = {rows("q.weight", heads, query)};
    if (config.gate == AttentionGate::elementwise) sections.push_back(rows("gate.weight", heads, query));
    if (config.gate == AttentionGate::head)
        sections.push_back(split_over_tensor(build.gate("gate.weight", {config.num_heads, hidden_size_}), 0));
    const std::vector<ParameterSpec> key_value = {rows("k.weight", kv, key), rows("v.weight", kv, key)};
    const bool replicated = config.num_kv_heads < build.store.grid().tensor.size;
    if (!replicated) sections.insert(sections.end(), key_value.begin(), key_value.end());
    input_ = build.store.declare(std::move(sections));
    if (replicated) key_value_ = build.store.declare(key_value);
    output_ =
        build.store.declare(split_heads(build.output_matrix("out.weight", {hidden_size_, heads}), 1, query));
    declare_biases(build);
    config_.num_heads = build.per_tensor_rank(config.num_heads);
    config_.num_kv_heads = build.per_tensor_rank(config.num_kv_heads);
    num_global_heads_ = config.num_heads;
    if (config.qk_norm == QkNorm::none) return;
    const bool full = config.qk_norm == QkNorm::full;
    const auto norm = [&](const char* part, int64_t num_heads) {
        return std::make_unique<Norm>(build.store, build.sublayer.norm, build.name(part),
                                      full ? num_heads * config.head_dim : config.head_dim,
                                      build.sublayer.name, build.layer,
                                      full ? Norm::Rows::width : Norm::Rows::heads, num_heads);
    };
    q_norm_ = norm("q_norm", config.num_heads);
    k_norm_ = norm("k_norm", config.num_kv_heads);
}

void AttentionLayer::declare_biases(const LayerBuilder& build) {
    const WholeParts query{config_.num_heads, "num_heads"}, key{config_.num_kv_heads, "num_kv_heads", true};
    const auto declare = [&](AttentionProjection projection, const ParameterSpec& spec) {
        if (has_bias(config_.bias, projection))
            bias_[static_cast<size_t>(projection)] = build.store.declare(spec);
    };
    const auto heads = [&](const char* part, int64_t width, const WholeParts& parts) {
        return split_over_tensor(build.bias(part, {width}), 0, parts);
    };
    using enum AttentionProjection;
    const int64_t kv = config_.num_kv_heads * config_.head_dim;
    declare(q, heads("q.bias", config_.num_heads * config_.head_dim, query));
    declare(k, heads("k.bias", kv, key));
    declare(v, heads("v.bias", kv, key));
    if (config_.gate != AttentionGate::none) declare(gate, heads("gate.bias", gate_width(), query));
    declare(out, build.output_bias("out.bias", hidden_size_));
}

Tensor AttentionLayer::biased(Context& ctx, const Tensor& x, AttentionProjection projection) const {
    return with_bias(ctx, x, bias_[static_cast<size_t>(projection)]);
}

int64_t AttentionLayer::gate_width() const {
    switch (config_.gate) {
        case AttentionGate::none:
            return 0;
        case AttentionGate::head:
            return config_.num_heads;
        case AttentionGate::elementwise:
            return config_.num_heads * config_.head_dim;
    }
    return 0;
}

std::vector<Phase> AttentionLayer::phases() const {
    return {{"", true, [this](LayerContext& ctx, const Values& in) { return Values{forward(ctx, in[0])}; }}};
}

double AttentionLayer::forward_flops(const Documents& documents) const {
    const auto tokens = static_cast<double>(documents.num_tokens());
    const int64_t key_value = key_value_ ? key_value_->num_global_elements() : 0;
    const auto weights =
        static_cast<double>(input_->num_global_elements() + key_value + output_->num_global_elements());
    double pairs = 0; // of a query and a key it sees
    for (size_t i = 0; i + 1 < documents.offsets.size(); ++i) {
        const auto length = static_cast<double>(documents.offsets[i + 1] - documents.offsets[i]);
        const double full = config_.window ? std::min(static_cast<double>(config_.window), length) : length;
        pairs += full * (full + 1) / 2 + (length - full) * full;
    }
    // Two products a pair: the score and the value.
    return 2 * tokens * weights + 4 * pairs * static_cast<double>(num_global_heads_ * config_.head_dim);
}

Tensor AttentionLayer::forward(LayerContext& ctx, const Tensor& stream) const {
    const Tensor h = to_column_parallel(ctx, stream);
    const Projected in = project(ctx, h);
    Tensor o = ctx.decode ? attend_with_cache(ctx, in) : attend(ctx, in);
    const int64_t tokens = h.dim(0);
    if (config_.gate == AttentionGate::elementwise)
        o = ops::sigmoid_gate(ctx, o.view({tokens, config_.num_heads * config_.head_dim}), in.gate);
    else if (config_.gate == AttentionGate::head)
        o = ops::sigmoid_gate(ctx, o, in.gate);
    const Tensor part = ops::linear(ctx, o.view({tokens, config_.num_heads * config_.head_dim}), output_);
    return biased(ctx, from_row_parallel(ctx, part), AttentionProjection::out);
}

AttentionLayer::Projected AttentionLayer::project(LayerContext& ctx, const Tensor& h) const {
    const int64_t tokens = h.dim(0), heads = config_.num_heads, kv_heads = config_.num_kv_heads,
                  dim = config_.head_dim;
    std::vector<int64_t> widths = {heads * dim};
    if (config_.gate != AttentionGate::none) widths.push_back(gate_width());
    const std::vector<int64_t> kv_widths(2, kv_heads * dim);
    if (!key_value_) widths.insert(widths.end(), kv_widths.begin(), kv_widths.end());
    std::vector<Tensor> parts = ops::split_columns(ctx, ops::linear(ctx, h, input_), widths);
    if (key_value_)
        for (const Tensor& part : ops::split_columns(ctx, ops::linear(ctx, h, key_value_), kv_widths))
            parts.push_back(part);

    Projected out;
    if (config_.gate != AttentionGate::none) out.gate = biased(ctx, parts[1], AttentionProjection::gate);
    out.v = biased(ctx, parts.back(), AttentionProjection::v).view({tokens, kv_heads, dim});
    const auto position_encoded = [&](const Tensor& x, const Norm* norm, int64_t num_heads) {
        Tensor y = config_.qk_norm == QkNorm::full ? x : x.view({tokens, num_heads, dim});
        if (norm) y = norm->forward(ctx, y);
        y = y.view({tokens, num_heads, dim});
        if (config_.rope.fraction == 0) return y;
        return ops::rope(ctx, y, ctx.documents, config_.rope.options());
    };
    out.q = position_encoded(biased(ctx, parts.front(), AttentionProjection::q), q_norm_.get(), heads);
    out.k = position_encoded(biased(ctx, parts[parts.size() - 2], AttentionProjection::k), k_norm_.get(),
                             kv_heads);
    return out;
}

ops::AttentionOptions AttentionLayer::options() const {
    return {.scale = 1 / std::sqrt(static_cast<double>(config_.head_dim)), .window = config_.window};
}

Tensor AttentionLayer::attend(LayerContext& ctx, const Projected& in) const {
    record_attention(ctx, site_, in.q, in.k, options());
    return ops::attention(ctx, in.q, in.k, in.v, ctx.documents, options());
}

Tensor AttentionLayer::attend_with_cache(LayerContext& ctx, const Projected& in) const {
    DecodeState::Tensors& state = ctx.decode->of(this);
    Tensor &keys = state["keys"], &values = state["values"]; // [capacity, H_kv, d]
    const int64_t before = ctx.documents->first_position, after = before + in.q.dim(0);
    append_rows(*ctx.allocator, keys, before, in.k);
    append_rows(*ctx.allocator, values, before, in.v);
    return ops::attention(ctx, in.q, keys.rows(0, after), values.rows(0, after), ctx.documents,
                          Documents::single(after), options());
}

} // namespace braid

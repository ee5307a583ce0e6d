#include "layers/mixers/gated_linear.h"

#include <cmath>

#include "layers/sublayer/decode_state.h"
#include "layers/sublayer/regions.h"
#include "ops/basic/elementwise.h"
#include "ops/basic/linear.h"
#include "ops/basic/norm.h"
#include "ops/basic/split.h"
#include "ops/compose/pointwise.h"
#include "ops/recurrence/linear_recurrence.h"

namespace braid {
namespace {

constexpr double kGateRoot = 16; // the paper's tau: decays near 1 where the gates start

const Schema<GatedLinearConfig>& gated_linear_schema() {
    using G = GatedLinearConfig;
    static const Schema<G> schema =
        Schema<G>()
            .key("num_heads", &G::num_heads,
                 {.help = "query, key and value heads", .min = 1, .max = kMaxHeads, .required = true})
            .key("key_head_dim", &G::key_head_dim,
                 {.help = "size of a query or key head", .min = 1, .max = kMaxHeadDim, .required = true})
            .key("value_head_dim", &G::value_head_dim,
                 {.help = "size of a value head",
                  .min = 1,
                  .max = kMaxHeadDim,
                  .default_text = "key_head_dim"})
            .finish([](G& g, SectionCheck&) {
                if (g.value_head_dim == 0) g.value_head_dim = g.key_head_dim;
            });
    return schema;
}

void shrink(GatedLinearConfig& g) {
    g.num_heads = std::min<int64_t>(g.num_heads, 4);
    g.key_head_dim = g.value_head_dim = 8;
}

} // namespace

SublayerType gated_linear_type() {
    SublayerType type = describe_sublayer<GatedLinearConfig, GatedLinearLayer>(
        "gated_linear", gated_linear_schema(), shrink,
        {{"gated_linear", GatedLinearConfig{.num_heads = 2, .key_head_dim = 3, .value_head_dim = 5}}});
    type.synonyms = "gla gatedlinearattention";
    return type;
}

GatedLinearLayer::GatedLinearLayer(const LayerBuilder& build, const GatedLinearConfig& config)
    : config_(config), norm_eps_(build.sublayer.norm.eps) {
    const int64_t hidden = build.model.hidden_size, keys = config.num_heads * config.key_head_dim,
                  values = config.num_heads * config.value_head_dim;
    const WholeParts heads{config.num_heads, "num_heads"};
    const auto rows = [&](const char* part, int64_t width) {
        return split_heads(build.matrix(part, {width, hidden}), 0, heads);
    };
    input_ = build.store.declare({rows("q.weight", keys), rows("k.weight", keys), rows("v.weight", values),
                                  rows("z.weight", values), rows("a.weight", keys)});
    norm_ = build.store.declare(build.other("norm.weight", {config.value_head_dim}, ParameterRole::norm,
                                            {Initializer::Kind::constant, 1}));
    output_ = build.store.declare(split_heads(build.output_matrix("out.weight", {hidden, values}), 1, heads));
    config_.num_heads = build.per_tensor_rank(config.num_heads);
}

std::vector<Phase> GatedLinearLayer::phases() const {
    return {{"", true, [this](LayerContext& ctx, const Values& in) { return Values{forward(ctx, in[0])}; }}};
}

double GatedLinearLayer::forward_flops(const Documents& documents) const {
    const auto weights = static_cast<double>(input_->num_global_elements() + output_->num_global_elements());
    // Of a token: the decay, k v and q S on each number of the states.
    const auto states =
        static_cast<double>(output_->num_global_elements() / output_->shape()[0] * config_.key_head_dim);
    return static_cast<double>(documents.num_tokens()) * (2 * weights + 5 * states);
}

Tensor GatedLinearLayer::forward(LayerContext& ctx, const Tensor& stream) const {
    const Tensor h = to_column_parallel(ctx, stream);
    const int64_t tokens = h.dim(0), heads = config_.num_heads, dk = config_.key_head_dim,
                  dv = config_.value_head_dim;
    const std::vector<int64_t> widths = {heads * dk, heads * dk, heads * dv, heads * dv, heads * dk};
    const auto parts = ops::split_columns(ctx, ops::linear(ctx, h, input_), widths);
    const auto heads_of = [&](const Tensor& x, int64_t d) { return x.view({tokens, heads, d}); };
    // log sigmoid(a) = -softplus(-a), in the dtype of states.
    const Tensor a = ops::cast(ctx, parts[4], accumulation_dtype(h.dtype()));
    const Tensor log_decay = ops::scale(ctx, ops::softplus(ctx, ops::scale(ctx, a, -1)), -1 / kGateRoot);
    DecodeState::Tensors* const state = ctx.decode ? &ctx.decode->of(this) : nullptr;
    const auto [o, last] = ops::linear_recurrence(ctx,
                                                  {.q = heads_of(parts[0], dk),
                                                   .k = heads_of(parts[1], dk),
                                                   .v = heads_of(parts[2], dv),
                                                   .log_decay = heads_of(log_decay, dk),
                                                   .beta = {},
                                                   .scale = 1 / std::sqrt(static_cast<double>(dk))},
                                                  ctx.documents, state ? (*state)["state"] : Tensor());
    if (state) (*state)["state"] = last;
    const Tensor y =
        ops::gated_rms_norm(ctx, o, heads_of(parts[3], dv), norm_, norm_eps_, ops::GateKind::silu);
    return from_row_parallel(ctx, ops::linear(ctx, y.view({tokens, heads * dv}), output_));
}

} // namespace braid

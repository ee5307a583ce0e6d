#include "layers/mixers/gated_linear.h"

#include <cmath>

#include "layers/sublayer/decode_state.h"
#include "layers/sublayer/regions.h"
#include "ops/basic/elementwise.h"
#include "ops/basic/linear.h"
#include "ops/basic/norm.h"
#include "ops/basic/split.h"
#include "ops/compose/chunks.h"
#include "ops/compose/matrices.h"
#include "ops/compose/pointwise.h"
#include "ops/compose/scan.h"

namespace braid {
namespace {

constexpr double kGateRoot = 16; // the paper's tau: decays near 1 where the gates start
// Within a chunk decays multiply; half of this many of the gates' logarithms, divided by kGateRoot, are
// exponents, which in f32 may be 88: gates below e^-176 all along would be too much.
constexpr int64_t kChunk = 16;

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
    const DType wide = accumulation_dtype(h.dtype()); // that states and decays are held in
    const auto rows = [&](const Tensor& x, int64_t d) {
        return ops::packed(ctx, ops::cast(ctx, x, wide)).view({tokens * heads, d});
    };
    // log sigmoid(a) = -softplus(-a).
    const Tensor log_decay =
        ops::scale(ctx, ops::softplus(ctx, ops::scale(ctx, rows(parts[4], dk), -1)), -1 / kGateRoot);
    const Tensor q = ops::scale(ctx, rows(parts[0], dk), 1 / std::sqrt(static_cast<double>(dk)));
    const Tensor o = recurrence(ctx, q, rows(parts[1], dk), rows(parts[2], dv), log_decay);
    const Tensor y =
        ops::gated_rms_norm(ctx, ops::cast(ctx, o, h.dtype()).view({tokens, heads, dv}),
                            parts[3].view({tokens, heads, dv}), norm_, norm_eps_, ops::GateKind::silu);
    return from_row_parallel(ctx, ops::linear(ctx, y.view({tokens, heads * dv}), output_));
}

/// With b the sums of log decays from a chunk's start, and S the state there: o_i = (q_i e^b_i) S + the sum
/// over j <= i of (q_i e^b_i · k_j e^-b_j) v_j, and S' = diag(e^b_last) S + the sum of (k_j e^(b_last -
/// b_j))ᵀ v_j.
Tensor GatedLinearLayer::recurrence(LayerContext& ctx, const Tensor& q, const Tensor& k, const Tensor& v,
                                    const Tensor& log_decay) const {
    const ops::PaddedChunks chunks(*ctx.allocator, *ctx.documents, config_.num_heads, kChunk);
    const int64_t n = chunks.num_chunks(), heads = config_.num_heads, dk = k.dim(1), dv = v.dim(1);
    const auto padded = [&](const Tensor& x) { return ops::gather_rows(ctx, x, chunks.rows()); };
    const auto matrices = [&](const Tensor& x) { return x.view({n * heads, kChunk, x.dim(1)}); };
    const auto minus = [&](const Tensor& x) { return ops::scale(ctx, x, -1); };
    const auto weighed = [&](const Tensor& x, const Tensor& exponent) {
        return matrices(ops::multiply(ctx, x, ops::exp(ctx, exponent)));
    };
    const Tensor queries = padded(q), keys = padded(k), values = matrices(padded(v));
    const Tensor b = ops::cumulative_sum(ctx, padded(log_decay), chunks.within());
    const Tensor last = ops::gather_rows(ctx, b, chunks.last_rows());
    const Tensor to_end = ops::add(ctx, ops::gather_rows(ctx, last, chunks.matrices()), minus(b));

    const Tensor update = ops::batched_matmul(ctx, weighed(keys, to_end), values, true);
    Tensor* const state = ctx.decode ? &ctx.decode->of(this)["state"] : nullptr;
    const ops::ScannedStates states =
        ops::scan_states(ctx, ops::exp(ctx, last).view({n, heads * dk}), update.view({n, heads * dk, dv}),
                         chunks.runs(), state ? *state : Tensor());
    if (state) *state = states.last;

    // Halfway between both ends no exponent is larger than half of them all.
    const Tensor middle = ops::gather_rows(ctx, ops::scale(ctx, last, 0.5), chunks.matrices());
    const Tensor centred = ops::add(ctx, b, minus(middle));
    const Tensor scores =
        ops::batched_matmul(ctx, weighed(queries, centred), weighed(keys, minus(centred)), false, true);
    const Tensor o =
        ops::add(ctx, ops::lower_triangular_matmul(ctx, scores, values),
                 ops::batched_matmul(ctx, weighed(queries, b), states.before.view({n * heads, dk, dv})));
    return ops::scatter_rows(ctx, o.view({n * heads * kChunk, dv}), chunks.rows());
}

} // namespace braid

#include "layers/mixers/delta_net.h"

#include <cmath>

#include "layers/mixers/convolution.h"
#include "layers/sublayer/decode_state.h"
#include "layers/sublayer/regions.h"
#include "ops/basic/activation.h"
#include "ops/basic/elementwise.h"
#include "ops/basic/l2_norm.h"
#include "ops/basic/linear.h"
#include "ops/basic/norm.h"
#include "ops/basic/split.h"
#include "ops/recurrence/delta_rule.h"

namespace braid {
namespace {

const Schema<DeltaNetConfig>& delta_net_schema() {
    using D = DeltaNetConfig;
    static const Schema<D> schema =
        Schema<D>()
            .key("num_heads", &D::num_heads,
                 {.help = "query, key and value heads", .min = 1, .max = kMaxHeads, .required = true})
            .key("key_head_dim", &D::key_head_dim,
                 {.help = "size of a query or key head", .min = 1, .max = kMaxHeadDim, .required = true})
            .key("value_head_dim", &D::value_head_dim,
                 {.help = "size of a value head",
                  .min = 1,
                  .max = kMaxHeadDim,
                  .default_text = "key_head_dim"})
            .key("conv_kernel", &D::conv_kernel,
                 {.help = "taps of the causal convolution on queries, keys and values", .min = 1, .max = 64})
            .key("negative_eigenvalues", &D::negative_eigenvalues,
                 {.help = "beta between 0 and 2 instead of 0 and 1", .aliases = {"allow_neg_eigval"}})
            .key("output_norm_eps", &D::output_norm_eps,
                 {.help = "eps of the norm of each head's output",
                  .above = 0,
                  .max = 1,
                  .default_text = "that of the sublayer's norms"})
            .finish([](D& d, SectionCheck&) {
                if (d.value_head_dim == 0) d.value_head_dim = d.key_head_dim;
            });
    return schema;
}

void shrink(DeltaNetConfig& d) {
    d.num_heads = std::min<int64_t>(d.num_heads, 4);
    d.key_head_dim = d.value_head_dim = 8;
}

std::vector<SublayerType::Example> delta_net_examples() {
    const DeltaNetConfig plain{.num_heads = 2, .key_head_dim = 3, .value_head_dim = 5, .conv_kernel = 3};
    DeltaNetConfig negative = plain;
    negative.negative_eigenvalues = true;
    negative.output_norm_eps = 1e-2;
    return {{"delta_net", plain}, {"delta_net_negative", negative}};
}

} // namespace

SublayerType delta_net_type() {
    return describe_sublayer<DeltaNetConfig, DeltaNetLayer>("delta_net", delta_net_schema(), shrink,
                                                            delta_net_examples());
}

DeltaNetLayer::DeltaNetLayer(const LayerBuilder& build, const DeltaNetConfig& config)
    : config_(config),
      norm_eps_(config.output_norm_eps.value_or(build.sublayer.norm.eps)),
      num_global_heads_(config.num_heads) {
    const int64_t hidden = build.model.hidden_size, keys = config.num_heads * config.key_head_dim,
                  values = config.num_heads * config.value_head_dim;
    const WholeParts heads{config.num_heads, "num_heads"};
    const auto rows = [&](const char* part, int64_t width) {
        return split_heads(build.matrix(part, {width, hidden}), 0, heads);
    };
    const auto channels = [&](const char* part, int64_t width) {
        return split_over_tensor(build.convolution(part, width, config.conv_kernel), 0, heads);
    };
    input_ = build.store.declare({rows("q.weight", keys), rows("k.weight", keys), rows("v.weight", values),
                                  split_over_tensor(build.gate("b.weight", {config.num_heads, hidden}), 0)});
    conv_ = build.store.declare({channels("conv_q.weight", keys), channels("conv_k.weight", keys),
                                 channels("conv_v.weight", values)});
    norm_ = build.store.declare(build.other("norm.weight", {config.value_head_dim}, ParameterRole::norm,
                                            {Initializer::Kind::constant, 1}));
    output_ = build.store.declare(split_heads(build.output_matrix("out.weight", {hidden, values}), 1, heads));
    config_.num_heads = build.per_tensor_rank(config.num_heads);
}

std::vector<Phase> DeltaNetLayer::phases() const {
    return {{"", true, [this](LayerContext& ctx, const Values& in) { return Values{forward(ctx, in[0])}; }}};
}

double DeltaNetLayer::forward_flops(const Documents& documents) const {
    const auto weights = static_cast<double>(input_->num_global_elements() + output_->num_global_elements() +
                                             conv_->num_global_elements());
    // The recurrence of a token and head: k S, the outer product and q S on a d_k x d_v state.
    const auto states =
        static_cast<double>(num_global_heads_ * config_.key_head_dim * config_.value_head_dim);
    return static_cast<double>(documents.num_tokens()) * (2 * weights + 6 * states);
}

Tensor DeltaNetLayer::forward(LayerContext& ctx, const Tensor& stream) const {
    const Tensor h = to_column_parallel(ctx, stream);
    const int64_t tokens = h.dim(0), heads = config_.num_heads, dk = config_.key_head_dim,
                  dv = config_.value_head_dim;
    const std::vector<int64_t> widths = {heads * (2 * dk + dv), heads},
                               parts = {heads * dk, heads * dk, heads * dv};
    const auto projected = ops::split_columns(ctx, ops::linear(ctx, h, input_), widths);
    DecodeState::Tensors* const state = ctx.decode ? &ctx.decode->of(this) : nullptr;
    const Tensor mixed = short_convolution(ctx, this, projected[0], conv_, true);
    const auto qkv = ops::split_columns(ctx, mixed, parts);
    const Tensor q = ops::l2_norm(ctx, qkv[0].view({tokens, heads, dk}));
    const Tensor k = ops::l2_norm(ctx, qkv[1].view({tokens, heads, dk}));
    const Tensor v = qkv[2].view({tokens, heads, dv});
    const Tensor gate = ops::cast(ctx, projected[1], accumulation_dtype(projected[1].dtype()));
    const Tensor beta = ops::scale(ctx, ops::sigmoid(ctx, gate), config_.negative_eigenvalues ? 2 : 1);

    const double scale = 1 / std::sqrt(static_cast<double>(dk));
    Tensor last;
    const Tensor o = ops::gated_delta_rule(ctx, q, k, v, {}, beta, ctx.documents, scale,
                                           state ? (*state)["recurrent"] : Tensor(), state ? &last : nullptr);
    if (state) (*state)["recurrent"] = last;
    const Tensor y = ops::rms_norm(ctx, o, norm_, norm_eps_, false);
    return from_row_parallel(ctx, ops::linear(ctx, y.view({tokens, heads * dv}), output_));
}

} // namespace braid

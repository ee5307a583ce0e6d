#include "layers/mixers/gated_delta_net.h"

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
#include "ops/recurrence/delta_decay.h"
#include "ops/recurrence/delta_rule.h"

namespace braid {
namespace {

constexpr double kL2Eps = 1e-6; // added to the sum of squares, not to the mean

} // namespace

GatedDeltaNetLayer::GatedDeltaNetLayer(const LayerBuilder& build, const GatedDeltaNetConfig& config)
    : config_(config),
      site_{build.layer, build.position, build.sublayer.name},
      hidden_size_(build.model.hidden_size),
      norm_eps_(config.output_norm_eps.value_or(build.sublayer.norm.eps)) {
    const int64_t kd = key_width(), vd = value_width(), heads = config.num_value_heads;
    const WholeParts keys{config.num_key_heads, "num_key_heads"}, values{heads, "num_value_heads"};
    // Heads stay whole on a tensor rank, with their convolution, gates and norm.
    const auto rows = [&](const char* part, int64_t width, const WholeParts& parts) {
        return split_heads(build.matrix(part, {width, hidden_size_}), 0, parts);
    };
    const auto gates = [&](const char* part) {
        return split_over_tensor(build.gate(part, {heads, hidden_size_}), 0);
    };
    input_ = build.store.declare({rows("q.weight", kd, keys), rows("k.weight", kd, keys),
                                  rows("v.weight", vd, values), rows("z.weight", vd, values),
                                  gates("b.weight"), gates("a.weight")});
    const auto channels = [&](const char* part, int64_t width, const WholeParts& parts) {
        return split_over_tensor(build.convolution(part, width, config.conv_kernel), 0, parts);
    };
    conv_ = build.store.declare({channels("conv_q.weight", kd, keys), channels("conv_k.weight", kd, keys),
                                 channels("conv_v.weight", vd, values)});
    // A between 0.01 and 16 as in Qwen3.5, if nothing else is asked for: an A that rounds to 0 would make a
    // head that never forgets or learns.
    const auto per_head = [&](const char* part, Initializer init) {
        return split_over_tensor(build.other(part, {heads}, ParameterRole::recurrent, init), 0);
    };
    const InitOverride& init = build.sublayer.config.init;
    const auto [least, most] = init.a_range.value_or(std::array{0.01, 16.0});
    a_log_ = build.store.declare(per_head("a_log", {Initializer::Kind::log_uniform, least, most}));
    // The time steps of Mamba (Gu and Dao, arXiv:2312.00752, section 3.6), or the bias that Qwen3.5 starts
    // from.
    dt_bias_ = build.store.declare(
        per_head("dt_bias", init.decay == DecayInit::log_uniform_dt
                                ? Initializer{Initializer::Kind::inverse_softplus, 1e-3, 0.1}
                                : Initializer{Initializer::Kind::constant, 1}));
    // The output norm is never zero-centred, whatever the model's norms are.
    norm_ = build.store.declare(build.other("norm.weight", {config.value_head_dim}, ParameterRole::norm,
                                            {Initializer::Kind::constant, 1}));
    output_ =
        build.store.declare(split_heads(build.output_matrix("out.weight", {hidden_size_, vd}), 1, values));
    num_global_value_heads_ = heads;
    config_.num_key_heads = build.per_tensor_rank(config.num_key_heads);
    config_.num_value_heads = build.per_tensor_rank(heads);
}

std::vector<Phase> GatedDeltaNetLayer::phases() const {
    return {{"", true, [this](LayerContext& ctx, const Values& in) { return Values{forward(ctx, in[0])}; }}};
}

double GatedDeltaNetLayer::forward_flops(const Documents& documents) const {
    const auto tokens = static_cast<double>(documents.num_tokens());
    const auto weights = static_cast<double>(input_->num_global_elements() + output_->num_global_elements() +
                                             conv_->num_global_elements());
    // The recurrence of a token and head: decay, k S, the outer product and q S on a d_k x d_v state.
    const auto state =
        static_cast<double>(num_global_value_heads_ * config_.key_head_dim * config_.value_head_dim);
    return tokens * (2 * weights + 8 * state);
}

Tensor GatedDeltaNetLayer::forward(LayerContext& ctx, const Tensor& stream) const {
    const Tensor h = to_column_parallel(ctx, stream);
    const int64_t tokens = h.dim(0), kd = key_width(), vd = value_width(), heads = config_.num_value_heads;
    const auto& c = config_;
    const std::vector<int64_t> widths = {2 * kd + vd, vd, heads, heads}, conv_widths = {kd, kd, vd};
    const auto projected = ops::split_columns(ctx, ops::linear(ctx, h, input_), widths);
    DecodeState::Tensors* state = ctx.decode ? &ctx.decode->of(this) : nullptr;

    const Tensor mixed = short_convolution(ctx, this, projected[0], conv_, true);
    const auto qkv = ops::split_columns(ctx, mixed, conv_widths);
    const Tensor q = ops::l2_norm(ctx, qkv[0].view({tokens, c.num_key_heads, c.key_head_dim}), kL2Eps);
    const Tensor k = ops::l2_norm(ctx, qkv[1].view({tokens, c.num_key_heads, c.key_head_dim}), kL2Eps);
    const Tensor v = qkv[2].view({tokens, heads, c.value_head_dim});
    const Tensor gate =
        ops::sigmoid(ctx, ops::cast(ctx, projected[2], accumulation_dtype(projected[2].dtype())));
    const Tensor beta = c.negative_eigenvalues ? ops::scale(ctx, gate, 2) : gate;
    const Tensor g = ops::delta_decay(ctx, projected[3], a_log_, dt_bias_);

    const double scale = 1 / std::sqrt(static_cast<double>(c.key_head_dim));
    const bool diagnose = ctx.reports() && ctx.reports()->wants_diagnostics();
    Tensor last;
    const Tensor o =
        ops::gated_delta_rule(ctx, q, k, v, g, beta, ctx.documents, scale,
                              state ? (*state)["recurrent"] : Tensor(), state || diagnose ? &last : nullptr);
    if (state) (*state)["recurrent"] = last;
    if (diagnose) record_state(*ctx.reports(), g, last);
    const Tensor z = projected[1].view({tokens, heads, c.value_head_dim});
    const Tensor y = ops::gated_rms_norm(ctx, o, z, norm_, norm_eps_, ops::GateKind::silu);
    return from_row_parallel(ctx, ops::linear(ctx, y.view({tokens, vd}), output_));
}

void GatedDeltaNetLayer::record_state(Recorder& recorder, const Tensor& g, const Tensor& states) const {
    const ops::DeltaDiagnostics diagnostics = ops::delta_diagnostics(g, states);
    recorder.mean(site_, "decay_mean", diagnostics.decay_mean * static_cast<double>(g.numel()),
                  static_cast<double>(g.numel()));
    recorder.min(site_, "decay_min", diagnostics.decay_min);
    recorder.rms(site_, "state_rms", states);
}

} // namespace braid
